"""Why there is no release."""


class Refused(Exception):
    """A release that cannot be made; the message is one line that says what would do."""
