"""CK+ (Lucey et al. 2010): the last three frames of the 309 six-class sequences, and the first.

`cohn-kanade-images/S005/001/S005_001_00000011.png` is a frame of sequence 001 of subject S005, gray
or colour; `Emotion/S005/001/S005_001_00000011_emotion.txt` holds its label, a number written as a
float, and is named by the peak, the last frame. A sequence without that file has no label. Folds
are cut from all labelled subjects, contempt included, as in the published lists (`protocol`).
"""

import collections

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor.example import Example, Found, ordered
from ifgan_jax.data.vendor.tree import LayoutError, Tree

IMAGE = r"(S\d{3})_(\d{3})_(\d{8})\.(png|jpe?g|bmp|tiff?)"
LABEL = r"(S\d{3})_(\d{3})_(\d{8})_emotion\.txt"
CODES = {
    1: Expression.ANGER,
    3: Expression.DISGUST,
    4: Expression.FEAR,
    5: Expression.HAPPINESS,
    6: Expression.SADNESS,
    7: Expression.SURPRISE,
}
NO_EXPRESSION = (0, 2)  # neutral, contempt
PEAKS = 3  # "the last three frames" (Sec. 4.1)
SEQUENCES = {"anger": 45, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83}
LABELLED_SUBJECTS = 118
EXPECTED = {
    **{f"faces/{label}": PEAKS * count for label, count in SEQUENCES.items()},
    "faces/neutral": sum(SEQUENCES.values()),
}


def find(tree: Tree) -> Found:
    """Peaks and first frame of each six-class sequence, in the order of the frames' numbers.

    Raises:
      LayoutError: an empty or unknown label, or two labels for one sequence.
    """
    frames: dict[tuple[str, str], dict[str, str]] = collections.defaultdict(dict)
    for file, match in tree.named(IMAGE).items():
        subject, sequence, number = match[1].upper(), match[2], match[3]
        known = frames[subject, sequence]
        known[number] = tree.one_of(known[number], file) if number in known else file
    codes: dict[tuple[str, str], tuple[str, int]] = {}
    for file, match in tree.named(LABEL).items():
        key, peak, code = (match[1].upper(), match[2]), match[3], _code(tree, file)
        if codes.get(key, (peak, code)) != (peak, code):
            raise LayoutError(f"{tree.root / file}: sequence {'_'.join(key)} has a second label")
        codes[key] = peak, code

    examples, remarks = [], []
    for (subject, sequence), (peak, code) in codes.items():
        if code in NO_EXPRESSION:
            continue
        name = f"{subject}_{sequence}"
        numbers = sorted(frames.get((subject, sequence), {}))
        if len(numbers) <= PEAKS or peak not in numbers:
            remarks.append(
                f"{name}: {len(numbers)} frames, the label is of {peak}: some are missing; left out"
            )
            continue
        if numbers[-1] != peak:
            remarks.append(f"{name}: the label is of {peak}, the last frame is {numbers[-1]}")
        for i in (0, *range(len(numbers) - PEAKS, len(numbers))):
            examples.append(
                Example(
                    file=frames[subject, sequence][numbers[i]],
                    label=CODES[code] if i else Expression.NEUTRAL,
                    subject=subject,
                    sequence=name,
                    frame=i,
                    intensity=i / (len(numbers) - 1),
                )
            )
    subjects = sorted({subject for subject, _ in codes})
    if len(subjects) != LABELLED_SUBJECTS:
        remarks.append(
            f"{len(subjects)} labelled subjects, expected {LABELLED_SUBJECTS}: the folds are not "
            "the published ones"
        )
    return Found(ordered(examples), subjects, remarks)


def _code(tree: Tree, file: str) -> int:
    """The number in a label file: "   3.0000000e+00" is 3."""
    text = tree.read_text(file).strip()
    try:
        code = float(text)
    except ValueError:
        code = -1.0
    if code not in (*CODES, *NO_EXPRESSION):
        raise LayoutError(
            f"{tree.root / file}: holds {text[:20]!r}, no label from 0 to 7; unpack it again"
        )
    return int(code)
