"""queuesim: a wind tunnel for background job queues.

The same job processor that works a production queue runs unchanged in virtual time. See `Processor`, `run` and `load`.
The names in __init__.pyi are loaded when they are first used, so that to import this package takes no time.
"""

import lazy_loader

from queuesim.moved import install

__version__ = "0.1.0"
install()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
