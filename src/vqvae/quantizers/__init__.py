"""Quantizers: one file a paper, one base class, which a new kind extends.

| class | paper | codes |
|---|---|---|
| ``VectorQuantizer`` | 1711.00937, equation 3 | K vectors, learned by gradient |
| ``EMAQuantizer`` | 1711.00937, appendix A.1 | K vectors, running means |
| ``CosineQuantizer`` | 2110.04627 | K directions, running means |
| ``SimVQ`` | 2411.02038 | K frozen vectors through a learned map |
| ``GumbelQuantizer`` | 1611.01144, 2102.12092 | K vectors, drawn from a categorical posterior |
| ``FSQ`` | 2309.15505 | the product of the levels, rounded |
| ``LFQ`` | 2310.05737 | 2^bits, signs |
| ``BSQ`` | 2406.07548 | 2^bits, signs on the sphere |
| ``ProjectedQuantizer`` | 2110.04627 | those of the quantizer inside |
| ``ResidualQuantizer`` | 2203.01941, 2107.03312 | K at each of several depths |
| ``GroupedQuantizer`` | 1910.05453 | K in each group of channels |

``straight_through`` (1711.00937) and ``rotation_trick`` (2410.06424) are their estimators of the gradient.
"""

from vqvae.quantizers.base import Quantizer as Quantizer
from vqvae.quantizers.base import QuantizerConfig as QuantizerConfig
from vqvae.quantizers.bsq import BSQ as BSQ
from vqvae.quantizers.cosine import CosineQuantizer as CosineQuantizer
from vqvae.quantizers.ema import EMAQuantizer as EMAQuantizer
from vqvae.quantizers.estimators import Estimator as Estimator
from vqvae.quantizers.estimators import straight_through as straight_through
from vqvae.quantizers.fsq import FSQ as FSQ
from vqvae.quantizers.grouped import GroupedQuantizer as GroupedQuantizer
from vqvae.quantizers.gumbel import GumbelQuantizer as GumbelQuantizer
from vqvae.quantizers.lfq import LFQ as LFQ
from vqvae.quantizers.losses import mean_square as mean_square
from vqvae.quantizers.nearest import nearest_code as nearest_code
from vqvae.quantizers.projected import ProjectedQuantizer as ProjectedQuantizer
from vqvae.quantizers.residual import ResidualQuantizer as ResidualQuantizer
from vqvae.quantizers.rotation import rotation_trick as rotation_trick
from vqvae.quantizers.simvq import SimVQ as SimVQ
from vqvae.quantizers.vector import VectorQuantizer as VectorQuantizer
