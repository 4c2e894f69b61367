"""The models, by name. Nothing here imports JAX; `fedjax_sparse.models.model.build` makes one.

Each entry: what it is, where its factory is, and its trainable scalars at the published shape.
"""

MODELS: dict[str, tuple[str, str, int]] = {
    "linear": ("linear regression, squared error; a9a-like: 123 features", "linear:linear", 124),
    "logistic": ("binary logistic regression; a9a: 123 features", "linear:logistic", 124),
    "softmax": ("softmax regression; MNIST: 784-10", "linear:softmax", 7_850),
    "mlp": ("multilayer perceptron with ReLU; MNIST: 784-128-128-10", "mlp:mlp", 118_282),
    "lenet5": ("LeNet-5 with ReLU and max-pooling; CIFAR-10", "cnn:lenet5", 62_006),
    "femnist_cnn": ("LEAF's CNN for FEMNIST: 28x28x1, 62 classes", "cnn:femnist_cnn", 6_603_710),
    "pfl_cnn": ("pfl-research's CNN for CIFAR-10", "cnn:pfl_cnn", 1_626_442),
    "cifar_cnn": ("six convolutions with BatchNorm; CIFAR-10, as in FedSparsify", "cnn:cifar_cnn", 1_609_930),
    "resnet18": ("ResNet-18 with a 3x3 stem; CIFAR-10", "resnet:resnet18", 11_173_962),
    "resnet20": ("ResNet-20 with parameter-free shortcuts; CIFAR-10", "resnet:resnet20", 269_722),
    "vgg11": ("VGG-11 with one dense layer; CIFAR-10", "vgg:vgg11", 9_231_114),
    "vgg16": ("VGG-16 with one dense layer; CIFAR-100, as in FedSparsify", "vgg:vgg16", 14_774_436),
    "flare_fc": ("784-4069-4069-4069-10; MNIST, as in FLARE", "flare:fc", 36_356_525),
    "flare_cnn": ("two convolutions, two dense layers; MNIST, as in FLARE", "flare:cnn", 582_026),
    "flare_vgg11": ("VGG-11 with dropout, without norm; CIFAR-10, as in FLARE", "flare:vgg11", 28_144_010),
    "flare_vgg16": ("VGG-16 with dropout, without norm; CIFAR-10, as in FLARE", "flare:vgg16", 33_638_218),
    "flare_vgg19": ("VGG-19 with dropout, without norm; CIFAR-10, as in FLARE", "flare:vgg19", 38_947_914),
    "gru": ("character GRU; 86 characters, as in FLARE", "rnn:gru", 4_048_470),
}
