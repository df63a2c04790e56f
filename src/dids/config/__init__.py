"""The config file: its schema, how it is read and checked, and the commented template."""

from dids.config.load import load_config
from dids.config.schema import Config

__all__ = ["Config", "load_config"]
