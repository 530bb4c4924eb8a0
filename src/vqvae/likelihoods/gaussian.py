"""The decoder's likelihood of pixels: a proper distribution over 0..255."""

import torch
from torch import Tensor


def _normal_log_cdf_difference(low: Tensor, high: Tensor) -> Tensor:
    """Return log(Phi(high) - Phi(low)) for low < high, in the tail that does not cancel."""
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high): work where both are negative
    flip = low > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return log_high + torch.log1p(-torch.exp(log_low - log_high))


def pixel_nats(pixels: Tensor, reconstruction: Tensor, noise_variance: Tensor | float) -> Tensor:
    """Return -log p(x | z_q) of a discretised Gaussian decoder, in nats an image.

    The Gaussian N(reconstruction, noise_variance), whose log-likelihood is the squared error that training
    minimises, gives pixel value v the mass between v - 1/2 and v + 1/2, and 0 and 255 its tails, so the masses
    of the 256 values sum to one. The same binning as in arXiv 1701.05517, section 2.1.

    Args:
        pixels: uint8 [B, C, H, W].
        reconstruction: float [B, C, H, W], the decoder's mean in [-1, 1].
        noise_variance: sigma^2, in the units of [-1, 1].

    Returns:
        float64 [B].
    """
    x = pixels.double()
    mean = (reconstruction.double() + 1.0) * 127.5
    sigma = torch.as_tensor(noise_variance, dtype=torch.float64, device=x.device).sqrt() * 127.5
    low = torch.where(pixels == 0, -torch.inf, (x - 0.5 - mean) / sigma)
    high = torch.where(pixels == 255, torch.inf, (x + 0.5 - mean) / sigma)
    return -_normal_log_cdf_difference(low, high).flatten(1).sum(1)
