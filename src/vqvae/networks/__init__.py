"""Networks: an encoder and a decoder, one file an architecture."""

from vqvae.networks.base import Network as Network
from vqvae.networks.base import NetworkConfig as NetworkConfig
from vqvae.networks.paper import PaperNetwork as PaperNetwork
from vqvae.networks.resnet import ResNet as ResNet
