"""The errors of labioc, as one tree: named by what failed, grouped by whose fault it is.

::

    LabiocError
    ├── UserError                       the caller's
    │   ├── DefinitionError (TypeError)     a class that cannot be right, found when it is made
    │   ├── AddressError    (ValueError)    a URL or line setting that cannot be right
    │   ├── ValueTypeError  (TypeError)     a value of the wrong type
    │   ├── LimitError      (ValueError)    a value beyond the limits of the instrument or station
    │   ├── UnitError       (ValueError)    a unit that is unknown, or of another dimension
    │   ├── MissingChannel  (KeyError)      a channel that this instrument does not have
    │   ├── MissingPackage  (ImportError)   an instrument that needs a package which is not installed
    │   └── Superseded      (RuntimeError)  a wait for a value that a newer write or a stop ended
    ├── DeviceError                     the instrument's
    │   ├── ReplyError      (ValueError)    a reply that does not parse
    │   ├── TruncatedReply  (ValueError)    a reply that stopped in the middle
    │   ├── ReadingInvalid  (ValueError)    the instrument says that this reading is not valid
    │   ├── RefusedError    (RuntimeError)  a write that the instrument refused
    │   ├── NotSettled      (TimeoutError)  a value that was not reached in time
    │   └── WrongInstrument (ConnectionError)  another instrument, or variant, answers
    └── LinkError                       nobody's
        ├── LinkDown        (ConnectionError)  no connection
        ├── WriteCut        (ConnectionError)  the connection went while a write was on its way
        ├── ReplyTimeout    (TimeoutError)     no reply in time
        └── PortBusy        (TimeoutError)     no turn on the port in time

Every class also inherits the builtin that a Python user would catch.
"""


class LabiocError(Exception):
    """Base of every error that labioc raises on purpose.

    Attributes:
        expected: tells a server that the message alone is enough for its log.
        asked: whether the instrument was asked; False if it was known beforehand to be in vain.
    """

    expected = True
    asked = True

    def __str__(self) -> str:
        # KeyError would show the repr of its text
        return str(self.args[0]) if self.args else ""


class UserError(LabiocError):
    """The caller's doing: nothing was sent to the instrument, or another wish came after it."""


class DefinitionError(UserError, TypeError):
    """Raised when a driver or device class is made and cannot be right."""


class AddressError(UserError, ValueError):
    """Raised when a URL, or a line setting in it, cannot be right."""


class ValueTypeError(UserError, TypeError):
    """Raised when a value has the wrong type for its parameter."""


class LimitError(UserError, ValueError):
    """Raised when a value is beyond the limits of the instrument or of the station."""


class UnitError(UserError, ValueError):
    """Raised when a unit is unknown or two units have different dimensions."""


class MissingChannel(UserError, KeyError):
    """Raised when an instrument, or its variant, does not have a channel."""


class MissingPackage(UserError, ImportError):
    """Raised when an instrument needs a package that is not installed."""


class Superseded(UserError, RuntimeError):
    """Raised when a write has been done, but a newer one or a stop came before its value was reached."""


class DeviceError(LabiocError):
    """The instrument's fault: it answered, but not as its manual says."""


class ReplyError(DeviceError, ValueError):
    """Raised when a reply does not parse as what was asked for."""


class TruncatedReply(DeviceError, ValueError):
    """Raised when a reply started and then stopped before its terminator."""


class ReadingInvalid(DeviceError, ValueError):
    """Raised when the instrument itself says that a reading is not valid (over-range, open sensor).

    Attributes:
        refused: whether it says so by refusing to be asked for it.
    """

    refused = False


class RefusedError(DeviceError, RuntimeError):
    """Raised when the instrument refused a write, or kept another value."""


class NotSettled(DeviceError, TimeoutError):
    """Raised when a write has been done, but its value was not reached in time."""


class WrongInstrument(DeviceError, ConnectionError):
    """Raised when another instrument, or another variant of it, answers at the address."""


class LinkError(LabiocError):
    """Nobody's fault: cables, power, networks."""


class LinkDown(LinkError, ConnectionError):
    """Raised when there is no connection to the instrument."""


class WriteCut(LinkError, ConnectionError):
    """Raised when the connection went while a write was on its way: the instrument may or may not have it."""


class ReplyTimeout(LinkError, TimeoutError):
    """Raised when no reply came in time."""


class PortBusy(LinkError, TimeoutError):
    """Raised when an exchange got no turn on its port in time."""
