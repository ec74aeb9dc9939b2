"""The asyncio half of the reader. `hatch_build.py` writes the synchronous half, `_sync`, from it."""
