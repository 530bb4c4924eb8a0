"""The integer form of models: the same probabilities, to the last bit, on every machine.

All numbers are whole numbers in float64 or int64. Weights are multiples of 2^-13, activations multiples of 2^-12.
All partial sums stay below 2^53, where float64 is exact. So the order of a sum, the batch size, the number of
threads and the processor cannot change a bit. Nonlinear functions are tables, whose entries come from decimal
arithmetic, which rounds correctly on every machine (Balle et al., "Integer Networks for Data Compression", ICLR
2019). The integer form is a function of the model file alone.
"""

from vqvae.coding.integer.likelihood import IntegerLogistics as IntegerLogistics
from vqvae.coding.integer.network import IntegerPixels as IntegerPixels
from vqvae.coding.integer.prior import IntegerPixelCNN as IntegerPixelCNN
