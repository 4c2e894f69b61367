"""The models, by name, and what each is for. Nothing here imports JAX; `fedjax_sparse.models.model.build` makes one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fedjax_sparse.data.arrays import Task
from fedjax_sparse.errors import UsageError

AUTO = "auto"  # in place of a name: the usual model of the data set's task


class Card(NamedTuple):
    """What is known of a model before it is built.

    Attributes:
        description: One line.
        factory: `module:function`.
        parameters: Trainable scalars at the published shape.
        task: What it predicts.
        options: Those of the factory with their defaults; of words, all that are allowed, the default first.
    """

    description: str
    factory: str
    parameters: int
    task: Task = "classification"
    options: Mapping[str, Any] = MappingProxyType({})


# Where kernels and biases start, an option of every model; see `fedjax_sparse.models.initializers`.
INITS = ("own", "glorot", "he", "lecun", "torch")
_GROUP_OR_BATCH = ("group", "batch")
_CIFAR_RESNET = {"norm": _GROUP_OR_BATCH, "width": 16, "unbiased": False}
_VGG = {"norm": ("batch", "group", "none"), "hidden": (), "unbiased": False}

MODELS: dict[str, Card] = {
    "linear": Card(
        "linear regression, squared error; a9a-like: 123 features", "linear:linear", 124, "regression"
    ),
    "logistic": Card("binary logistic regression; a9a: 123 features", "linear:logistic", 124),
    "softmax": Card("softmax regression; MNIST: 784-10", "linear:softmax", 7_850),
    "mlp": Card(
        "multilayer perceptron with ReLU; MNIST: 784-128-128-10",
        "mlp:mlp",
        118_282,
        options={"hidden": (128, 128)},
    ),
    "lenet5": Card("LeNet-5 with ReLU and max-pooling; CIFAR-10", "cnn:lenet5", 62_006),
    "femnist_cnn": Card("LEAF's CNN for FEMNIST: 28x28x1, 62 classes", "cnn:femnist_cnn", 6_603_710),
    "pfl_cnn": Card("pfl-research's CNN for CIFAR-10", "cnn:pfl_cnn", 1_626_442),
    "cifar_cnn": Card(
        "six convolutions with BatchNorm; CIFAR-10, as in FedSparsify",
        "cnn:cifar_cnn",
        1_609_930,
        options={"unbiased": False},
    ),
    "resnet18": Card(
        "ResNet-18 with a 3x3 stem; CIFAR-10",
        "resnet:resnet18",
        11_173_962,
        options={"norm": _GROUP_OR_BATCH, "unbiased": False},
    ),
    "resnet8": Card(
        "ResNet-8 with parameter-free shortcuts; CIFAR-10", "resnet:resnet8", 75_290, options=_CIFAR_RESNET
    ),
    "resnet20": Card(
        "ResNet-20 with parameter-free shortcuts; CIFAR-10", "resnet:resnet20", 269_722, options=_CIFAR_RESNET
    ),
    "vgg11": Card("VGG-11 with one dense layer; CIFAR-10", "vgg:vgg11", 9_231_114, options=_VGG),
    "vgg16": Card(
        "VGG-16 with one dense layer; CIFAR-100, as in FedSparsify", "vgg:vgg16", 14_774_436, options=_VGG
    ),
    "flare_fc": Card(
        "784-4069-4069-4069-10; MNIST, as in FLARE",
        "flare:fc",
        36_356_525,
        options={"hidden": (4069, 4069, 4069), "linear": False},
    ),
    "flare_cnn": Card(
        "two convolutions, two dense layers; MNIST, as in FLARE",
        "flare:cnn",
        582_026,
        options={"double_softmax": False},
    ),
    "flare_vgg11": Card(
        "VGG-11 with dropout, without norm; CIFAR-10, as in FLARE",
        "flare:vgg11",
        28_144_010,
        options={"relu_by_stage": False},
    ),
    "flare_vgg16": Card(
        "VGG-16 with dropout, without norm; CIFAR-10, as in FLARE", "flare:vgg16", 33_638_218
    ),
    "flare_vgg19": Card(
        "VGG-19 with dropout, without norm; CIFAR-10, as in FLARE", "flare:vgg19", 38_947_914
    ),
    "gru": Card(
        "character GRU; 86 characters, as in FLARE",
        "rnn:gru",
        4_048_470,
        "text",
        options={"embedding": 256, "hidden": 1024},
    ),
}

USUAL: dict[Task, str] = {"classification": "mlp", "regression": "linear", "text": "gru"}


def check_task(model: str, predicts: Task, task: Task, dataset: str) -> None:
    """Checks that a model predicts what a data set asks for.

    Args:
        model: Its name, for the message.
        predicts: What it is for.
        task: What the data set is for.
        dataset: Its name, for the message.

    Raises:
        UsageError: It does not; the message names the models that do.
    """
    if predicts != task:
        fitting = ", ".join(name for name, card in MODELS.items() if card.task == task)
        raise UsageError(f"model {model} is for {predicts}, and {dataset} is for {task}; allowed: {fitting}")
