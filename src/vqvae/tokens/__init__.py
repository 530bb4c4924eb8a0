"""Stores of codes of any size: their format, and work that several processes share."""

from vqvae.tokens.header import Shard as Shard
from vqvae.tokens.header import StoreHeader as StoreHeader
from vqvae.tokens.source import CodeSource as CodeSource
from vqvae.tokens.source import open_codes as open_codes
from vqvae.tokens.store import Store as Store
from vqvae.tokens.write_codes import write_codes as write_codes
