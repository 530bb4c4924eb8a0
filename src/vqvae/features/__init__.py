"""Feature networks: trained networks in whose features images are compared.

| class | network |
|---|---|
| ``Judge`` | a classifier of 32x32 images that this package trains; the shipped one knows CIFAR-10 |
| ``SqueezeNet`` | SqueezeNet 1.1, trained on ImageNet; weights by path |
| ``AlexNet``, ``VGG16`` | of torchvision, trained on ImageNet, the networks of LPIPS; weights by path |
| ``Inception`` | the InceptionV3 of FID, through torch-fidelity; weights by path |
"""

from vqvae.features.alexnet import AlexNet as AlexNet
from vqvae.features.base import FeatureNetwork as FeatureNetwork
from vqvae.features.base import FeaturesConfig as FeaturesConfig
from vqvae.features.inception import Inception as Inception
from vqvae.features.judge import Judge as Judge
from vqvae.features.named import network_named as network_named
from vqvae.features.named import networks_in as networks_in
from vqvae.features.squeezenet import SqueezeNet as SqueezeNet
from vqvae.features.vgg16 import VGG16 as VGG16
