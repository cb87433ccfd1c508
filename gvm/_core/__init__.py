"""The compiled core. All of it is in the extension ``gvm._core._gvm``."""

try:
    from gvm._core import _gvm
except ImportError as error:
    error.add_note(
        "The extension gvm._core._gvm did not load. Was it compiled? In a source tree run "
        "`make setup`, or `pip install --no-build-isolation --editable .`"
    )
    raise

__all__ = ["_gvm"]
