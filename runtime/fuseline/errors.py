"""The errors fuseline raises: one sentence each, saying what was wrong, where, and what would be right."""


class Error(Exception):
    """Base of every error that fuseline raises on purpose."""


class FolderError(Error):
    """A model folder is missing something, is damaged, or asks for what this version does not know."""


class InputError(Error):
    """A photo, a text or an option given by the caller cannot be used."""


class ExportError(Error):
    """A checkpoint cannot be turned into a fuseline folder."""


class DeviceError(Error):
    """The requested device or execution provider is not available here."""


class Cancelled(Error):
    """A caption was given up because its cancel token was set."""
