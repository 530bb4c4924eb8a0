"""What AlexNet and VGG16 share: the range of their inputs, and the outputs of some layers."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

# mean and standard deviation of ImageNet's colours, for pixels in [-1, 1]
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)


def standardised(images: Tensor) -> Tensor:
    """Return images, float [B, 3, H, W] in [-1, 1], minus ImageNet's mean colour, divided by its deviation."""
    mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
    return (images - mean) / deviation


def maps_after(wanted: Sequence[int], layers: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Run layers one after the other and return the outputs of those with the wanted numbers."""
    found: list[Tensor] = []
    for number, layer in enumerate(layers):
        x = layer(x)
        if number in wanted:
            found.append(x)
    return found
