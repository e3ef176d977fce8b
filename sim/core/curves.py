"""The curve memory of a temperature controller: numbered response curves, standard and user's."""

from dataclasses import dataclass, field
from typing import Any

from .lines import Command, OutOfRangeError, integer, real, significant, string
from .thermal import CX_1050, DT_470, DT_670, PT_100, PT_1000, Curve

MILLIVOLT, VOLT, OHM, LOG_OHM = 1, 2, 3, 4
"""The formats of a curve: what stands in it per kelvin."""

_USER = integer(21, 59)
_ANY = integer(1, 59)
_INDEX = integer(1, 200)
_six = significant(6)


@dataclass
class StoredCurve:
    """One numbered curve; points are (sensor units, kelvin), (0, 0) where unset, `limit` in kelvin."""

    name: str = ""
    serial: str = ""
    format: int = VOLT
    limit: float = 375.0
    points: list[tuple[float, float]] = field(default_factory=list)
    curve: Curve | None = None

    @property
    def coefficient(self) -> int:
        """1 negative, 2 positive, calculated from the first two points."""
        (u1, t1), (u2, t2) = [*self.points[:2], (0.0, 0.0), (0.0, 0.0)][:2]
        return 2 if (u2 - u1) * (t2 - t1) > 0 else 1

    def compile(self) -> None:
        """Make the points count, as soon as there are two."""
        known = sorted({point for point in self.points if point != (0.0, 0.0)})
        self.curve = Curve(known, log=self.format == LOG_OHM) if len(known) > 1 else None


def _stored(name: str, serial: str, form: int, limit: float, curve: Curve) -> StoredCurve:
    points = sorted(curve.points, key=lambda point: point[1])
    return StoredCurve(name, serial, form, limit, points, curve)


class CurveMemory:
    """The commands CRVHDR, CRVPT, CRVDEL and SCAL; to be mixed into a line simulator."""

    def restore_curves(self) -> None:
        """Fill the memory as the factory does, and user curve 21 with a thin-film resistor's."""
        self.curves = {number: StoredCurve(name=f"User {number}") for number in range(1, 60)} | {
            1: _stored("DT-470", "STANDARD C", VOLT, 475.0, DT_470),
            2: _stored("DT-670", "STANDARD C", VOLT, 500.0, DT_670),
            6: _stored("PT-100", "STANDARD C", OHM, 800.0, PT_100),
            7: _stored("PT-1000", "STANDARD C", OHM, 800.0, PT_1000),
            21: _stored("CX-1050", "X00001", LOG_OHM, 400.0, CX_1050),
        }

    def curve_changed(self) -> None:
        """Act on a change in the memory."""

    @Command("CRVHDR", _USER, string(15), string(10), integer(1, 4), real(0, 9999), integer(1, 2), optional=5)
    def _crvhdr(self, number: int, *given: Any) -> None:
        stored = self.curves[number]
        old: tuple[Any, ...] = (stored.name, stored.serial, stored.format, stored.limit)
        # the coefficient is taken for the query's sake and calculated by the instrument
        new = (was if value is None else value for was, value in zip(old, given[:4], strict=True))
        stored.name, stored.serial, stored.format, stored.limit = new
        self._compile(number)

    @Command("CRVHDR?", _ANY)
    def _crvhdr_query(self, number: int) -> str:
        stored = self.curves[number]
        return (
            f"{stored.name:15},{stored.serial:10},{stored.format},{stored.limit:+08.3f},{stored.coefficient}"
        )

    @Command("CRVPT", _USER, _INDEX, real(), real(0))
    def _crvpt(self, number: int, index: int, units: float, kelvin: float) -> None:
        points = self.curves[number].points
        points.extend([(0.0, 0.0)] * (index - len(points)))
        points[index - 1] = (units, kelvin)
        self._compile(number)

    @Command("CRVPT?", _ANY, _INDEX)
    def _crvpt_query(self, number: int, index: int) -> str:
        points = self.curves[number].points
        units, kelvin = points[index - 1] if index <= len(points) else (0.0, 0.0)
        return f"{_six(units)},{_six(kelvin)}"

    @Command("CRVDEL", _USER)
    def _crvdel(self, number: int) -> None:
        self.curves[number] = StoredCurve(name=f"User {number}")
        self._compile(number)

    @Command("SCAL", integer(1, 7), _USER, string(10), *[real()] * 6, optional=4)
    def _scal(self, standard: int, number: int, serial: str, *pairs: float | None) -> None:
        source = self.curves[standard]
        if standard not in (1, 6, 7) or source.curve is None:
            raise OutOfRangeError("SoftCal starts from curve 1, 6 or 7")
        measured = zip(pairs[::2], pairs[1::2], strict=True)
        factors = [(u / source.curve.units(k), k) for k, u in measured if k and u]
        if not factors:
            raise OutOfRangeError("SoftCal needs a point that isn't zero")
        factor = Curve([*factors, (factors[-1][0], factors[-1][1] + 1.0)])
        points = [(units * factor.units(kelvin), kelvin) for units, kelvin in source.points]
        self.curves[number] = StoredCurve(source.name, serial, source.format, source.limit, points)
        self._compile(number)

    def _compile(self, number: int) -> None:
        self.curves[number].compile()
        self.curve_changed()
