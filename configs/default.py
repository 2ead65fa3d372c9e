"""The paper's run: IF-GAN on BU-3DFE, fold 0 of 10 (Sec. 4).

    python scripts/train.py --config=configs/default.py --workdir=runs/bu3dfe_fold0

Needs the four licensed data sets, prepared under `data.data_dir` (docs/datasets.md), and ImageNet
weights for the ResNet-101 at `classifier.pretrained` (scripts/convert_resnet.py): without them it
stops at once and names what is missing. With one data set alone:
`--config.data.additional='()'`. Cost: not yet run. configs/demo.py is the same method in minutes,
on faces that the package renders.

λ, α and all of `optimizers` are given in the paper; every value marked "open" is not, and
docs/decisions.md says why it is what it is.
"""

from ml_collections import ConfigDict


def adam() -> ConfigDict:
    """Sec. 4.3, the same for G, D and E."""
    return ConfigDict(
        {
            "learning_rate": 1e-4,  # Adam's step size
            "decay": 0.9,  # factor on it, every so many epochs
            "decay_every_epochs": 10,
            "beta1": 0.9,
            "beta2": 0.99,
            "weight_decay": 1e-4,  # L2, added to the gradient as PyTorch's Adam does
        }
    )


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.method = "ifgan"  # or "baseline": E alone, on the source face
    config.seed = 0  # weights, order of the images, augmentation
    config.epochs = 100
    config.batch_size = 50  # global; a multiple of the number of devices
    config.dtype = "float32"  # of the arithmetic: or "bfloat16"; parameters stay float32
    config.remat = "attention"  # or "none", "blocks": computed twice to save memory, not results
    config.checkpoint_every_epochs = 1  # also after SIGTERM; changes no number
    config.devices = 0  # of each process, that share a batch; 0: all that JAX sees
    config.shard_parameters = False  # split them and their moments over the devices: memory only

    config.data = ConfigDict()
    config.data.name = "bu3dfe"  # a prepared data set: name[/config], or synthetic_faces/…
    config.data.data_dir = "data"  # where prepared data sets lie; changes no number
    config.data.num_classes = 6  # open (m): the six expressions; 7 with neutral (RAF-DB)
    config.data.image_size = 256  # pixels, before the crop
    config.data.crop = 224  # pixels, the models' input
    config.data.channels = 1  # open (a): gray, by Fig. 3
    config.data.num_folds = 10  # subject-disjoint
    config.data.fold = 0  # open (o): test part; the next one validates, the rest train
    config.data.additional = (
        "ck_plus",
        "mmi",
        "raf_db",
    )  # Sec. 4.3; open (y)
    config.data.averages_from = ()  # open (n): posed sets; () is the training part's posed images
    config.data.validation_fraction = 0.1  # open (o): RAF-DB; of its training part, by class
    config.data.strict_audit = False  # near-duplicates, and repeats in an owner's parts: errors

    config.augmentation = ConfigDict()
    config.augmentation.max_rotation = 5.0  # degrees, uniform in ±; open (t)
    config.augmentation.flip_probability = 0.5  # open (t)

    config.generator = ConfigDict()
    config.generator.widths = (32, 64, 128, 256, 512)  # Fig. 3
    config.generator.convs_per_stage = 2  # open (c)
    config.generator.attention = True  # the three modules of Fig. 3
    config.generator.attention_reduction = 8  # open (f): C2 = C1 / 8
    config.generator.attention_block = 2**19  # scores of an image held at once: memory, not results
    config.generator.output_noise = 0.0  # open (ae): on what D and E see, of a range of 2

    config.discriminator = ConfigDict()
    config.discriminator.width = 64  # open (g): pix2pix's 70×70 PatchGAN

    config.classifier = ConfigDict()
    config.classifier.depth = 101  # ResNet-10, 18, 34, 50, 101 or 152
    config.classifier.width = 64  # features of the stem
    config.classifier.inputs = "pair"  # open (h): or "generated", "source"
    config.classifier.pretrained = "weights/resnet101_imagenet"  # orbax folder; "" for none

    config.loss = ConfigDict()
    config.loss.adversarial_weight = 1.0  # λ1
    config.loss.l1_weight = 20.0  # λ2, on the mean over pixels: open (p)
    config.loss.softmax_weight = 10.0  # λ3
    config.loss.island_weight = 1.0  # λ4
    config.loss.island_alpha = 0.03  # α of eq. 5
    config.loss.island_reduction = "mean_images_and_features"  # open (l)
    config.loss.centre_step = 0.5  # open (k, v): the island-loss paper's
    config.loss.classifier_to_generator = True  # open (i, u)
    config.centre_deviation = 1.0  # open (k, v): of the Gaussian that starts the centres

    config.optimizers = ConfigDict()
    config.optimizers.generator = adam()
    config.optimizers.discriminator = adam()
    config.optimizers.classifier = adam()

    config.evaluation = ConfigDict()
    config.evaluation.batch_size = 50  # global; changes nothing but rounding
    return config.lock()
