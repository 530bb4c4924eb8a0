"""What a run is made of: frozen dataclasses, to and from YAML, overridden key by key."""

from vqvae.config.keys import Group as Group
from vqvae.config.keys import Key as Key
from vqvae.config.keys import closest_key as closest_key
from vqvae.config.keys import groups_of as groups_of
from vqvae.config.keys import is_key as is_key
from vqvae.config.keys import key_names as key_names
from vqvae.config.load import checked as checked
from vqvae.config.load import config_from as config_from
from vqvae.config.load import load_config as load_config
from vqvae.config.load import make_config as make_config
from vqvae.config.load import recipe_file as recipe_file
from vqvae.config.load import recipes as recipes
from vqvae.config.load import to_mapping as to_mapping
from vqvae.config.load import to_yaml as to_yaml
from vqvae.config.runs import MEASURED_ROWS as MEASURED_ROWS
from vqvae.config.runs import DataConfig as DataConfig
from vqvae.config.runs import PriorConfig as PriorConfig
from vqvae.config.runs import RunConfig as RunConfig
from vqvae.config.runs import TokenizerConfig as TokenizerConfig
from vqvae.config.runs import TrainingConfig as TrainingConfig
from vqvae.config.yaml_values import read_yaml as read_yaml
