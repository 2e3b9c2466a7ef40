"""Blocks: the rows that tasks write and read. One file per attempt, verified by every reader.

This module holds what is known of a block without reading it. The other modules import pyarrow or
an HTTP client, which takes too long for the command line:

- `minispark.blocks.format` writes a block
- `minispark.blocks.fetch` reads a partition, mapped or over HTTP
- `minispark.blocks.store` is the block directory of a worker
- `minispark.blocks.cache` keeps blocks for later jobs
- `minispark.blocks.host` says which processes can map the same files
"""

from minispark.blocks.meta import BlockMeta, BlockSource, BlockUnavailable, PartitionMeta

__all__ = ["BlockMeta", "BlockSource", "BlockUnavailable", "PartitionMeta"]
