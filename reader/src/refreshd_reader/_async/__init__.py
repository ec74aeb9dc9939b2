"""One of the two halves of the reader: `hatch_build.py` writes the synchronous one from the asyncio one."""
