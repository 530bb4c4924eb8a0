"""Codes at scale: the sharded store, data sets into it, samples into it, and images out of it."""

from vqvae.tokens.decode import decode_store as decode_store
from vqvae.tokens.encode import encode_to_store as encode_to_store
from vqvae.tokens.sample import sample_to_store as sample_to_store
from vqvae.tokens.store import Shard as Shard
from vqvae.tokens.store import Store as Store
from vqvae.tokens.store import StoreHeader as StoreHeader
