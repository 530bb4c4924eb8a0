"""What a published model says of itself."""

from math import inf, nan

from vqvae.published import Figures, measured


def test_a_figure_that_json_does_not_have_is_left_out() -> None:
    found = measured(Figures({"psnr": inf, "ssim": nan, "nmse": 0.0, "lpips": None, "images": 2}, {}))
    assert found == {"nmse": 0.0, "images": 2}
