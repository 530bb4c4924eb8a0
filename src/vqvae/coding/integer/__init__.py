"""The integer form of models: the same probabilities, to the last bit, on every machine.

All numbers are whole numbers in float64 or int64. Weights are multiples of 2^-13, activations multiples of 2^-12.
All partial sums stay below 2^53, where float64 is exact. So the order of a sum, the batch size, the number of
threads and the processor cannot change a bit. Nonlinear functions are tables, whose entries come from decimal
arithmetic, which rounds correctly on every machine (Balle et al., "Integer Networks for Data Compression", ICLR
2019). Quotients of float64 are rounded as IEEE 754 prescribes, so they are equal on every machine. The integer
form is a function of the model file alone.

A class has an integer form once a class or function is registered for it, in one file here: ``LAYERS.of``,
``PRIORS.of``, ``LIKELIHOODS.of``.
"""

from vqvae.coding.integer import resnet as resnet
from vqvae.coding.integer.autoregressive import IntegerAutoregressive as IntegerAutoregressive
from vqvae.coding.integer.categorical import IntegerCategorical as IntegerCategorical
from vqvae.coding.integer.gaussian import IntegerGaussian as IntegerGaussian
from vqvae.coding.integer.layers import LAYERS as LAYERS
from vqvae.coding.integer.layers import integer_network as integer_network
from vqvae.coding.integer.likelihood import LIKELIHOODS as LIKELIHOODS
from vqvae.coding.integer.likelihood import IntegerLikelihood as IntegerLikelihood
from vqvae.coding.integer.logistic import IntegerLogistics as IntegerLogistics
from vqvae.coding.integer.multiscale import IntegerMultiscale as IntegerMultiscale
from vqvae.coding.integer.pixelcnn import IntegerPixelCNN as IntegerPixelCNN
from vqvae.coding.integer.pixels import IntegerPixels as IntegerPixels
from vqvae.coding.integer.prior import PRIORS as PRIORS
from vqvae.coding.integer.prior import IntegerPrior as IntegerPrior
from vqvae.coding.integer.transformer import IntegerTransformer as IntegerTransformer
