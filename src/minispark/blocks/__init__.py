"""Blocks: what tasks write and read. One file per attempt, verified by every reader.

Here is what can be known of a block without reading it; the rest costs an import of pyarrow or of
an HTTP client, which the command line shall not wait for:

- `minispark.blocks.format` writes a block
- `minispark.blocks.fetch` reads a partition, mapped or over HTTP
- `minispark.blocks.store` is a worker's block directory
- `minispark.blocks.host` tells who may map whose files
"""

from minispark.blocks.errors import BlockUnavailable
from minispark.blocks.meta import BlockMeta, BlockSource, PartitionMeta

__all__ = ["BlockMeta", "BlockSource", "BlockUnavailable", "PartitionMeta"]
