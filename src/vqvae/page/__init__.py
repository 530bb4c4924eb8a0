"""A page on which a run's models run in the browser."""

from vqvae.page.build import Page as Page
from vqvae.page.build import PageFacts as PageFacts
from vqvae.page.build import build_page as build_page
from vqvae.page.serve import PageServer as PageServer
