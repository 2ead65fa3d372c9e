"""BU-3DFE (Yin et al. 2006): the frontal textures of six expressions at levels 03 and 04, and NE.

`F0001/F0001_AN03WH_F2D.bmp` is subject F0001, anger, level 3 of 4, race WH, the frontal texture;
100 subjects (F0001 to F0056, M0001 to M0044), delivered as one RAR archive for each. Sec. 4.1 uses
the two highest levels: 1,200 images. Neutral (NE00) makes the neutral average.
"""

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor.example import Example, Found, ordered
from ifgan_jax.data.vendor.tree import LayoutError, Tree

NAME = r"([FM]\d{4})_([A-Z]{2})(\d{2})([A-Z]{2})_F2D\.(bmp|png|jpe?g|tiff?)"
CODES = {
    "AN": Expression.ANGER,
    "DI": Expression.DISGUST,
    "FE": Expression.FEAR,
    "HA": Expression.HAPPINESS,
    "SA": Expression.SADNESS,
    "SU": Expression.SURPRISE,
    "NE": Expression.NEUTRAL,
}
LEVELS = (1, 2, 3, 4)
USED = (3, 4)  # "high intensity, i.e., the last two levels" (Sec. 4.1)
SUBJECTS = [f"F{i:04d}" for i in range(1, 57)] + [f"M{i:04d}" for i in range(1, 45)]
EXPECTED = {
    **{f"faces/{label.label}": 200 for label in CODES.values()},
    "faces/neutral": 100,
    **{f"subject {subject}": 13 for subject in SUBJECTS},
}


def find(tree: Tree) -> Found:
    """All F2D textures of the used levels; LayoutError for a code or level that does not exist."""
    examples: dict[tuple[str, str, int], Example] = {}
    for file, match in tree.named(NAME).items():
        subject, code, level = match[1].upper(), match[2].upper(), int(match[3])
        levels = (0,) if code == "NE" else LEVELS
        if code not in CODES or level not in levels:
            raise LayoutError(
                f"{tree.root / file}: {code}{match[3]} is no expression and level of BU-3DFE "
                f"({', '.join(CODES)}; 01 to 04, 00 for NE): restore the owner's name"
            )
        if level and level not in USED:
            continue
        key = (subject, code, level)
        if key in examples:
            file = tree.one_of(examples[key].file, file)
        examples[key] = Example(
            file=file,
            label=CODES[code],
            subject=subject,
            sequence=f"{subject}_{code}",
            frame=level,
            intensity=level / LEVELS[-1],
        )
    subjects = sorted({example.subject for example in examples.values()})
    return Found(ordered(list(examples.values())), subjects, [])
