"""Stores of codes of any size: their format, and work that several processes share."""

from vqvae.tokens.store import Shard as Shard
from vqvae.tokens.store import Store as Store
from vqvae.tokens.store import StoreHeader as StoreHeader
from vqvae.tokens.write_codes import write_codes as write_codes
