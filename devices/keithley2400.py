"""PVs of a Keithley 2400 source-measure unit."""

from labioc.drivers.keithley2400 import Elements, Keithley2400, Measurement

from .core import AlarmSeverity, pv
from .scpi import ScpiPVs

MAJOR = AlarmSeverity.MAJOR_ALARM
MINOR = AlarmSeverity.MINOR_ALARM


class Keithley2400PVs(ScpiPVs):
    """Keithley 2400 source-measure unit."""

    volts = pv(
        Keithley2400.measured,
        field=Measurement.voltage,
        name="V",
        precision=6,
        scan=1,
        doc="Measured voltage",
    )
    amperes = pv(
        Keithley2400.measured,
        field=Measurement.current,
        name="I",
        precision=9,
        scan=1,
        doc="Measured current",
    )
    ohms = pv(
        Keithley2400.measured, field=Measurement.resistance, name="R", precision=3, scan=1, doc="Resistance"
    )
    time = pv(
        Keithley2400.measured,
        field=Measurement.time,
        name="TIME",
        scan=1,
        doc="Instrument's time of the reading",
    )
    status = pv(
        Keithley2400.measured,
        field=Measurement.status,
        name="STATUS",
        scan=1,
        doc="Status word of the reading",
    )
    compliance = pv(
        Keithley2400.measured,
        field=Measurement.compliance,
        name="COMPLIANCE",
        scan=1,
        severities={True: MAJOR},
        doc="The reading was taken in compliance",
    )
    over_range = pv(
        Keithley2400.measured,
        field=Measurement.over_range,
        name="OVER_RANGE",
        scan=1,
        severities={True: MINOR},
        doc="The reading was taken over-range",
    )
    output = pv(Keithley2400.output, name="OUTPUT", scan=1, doc="Output on or off")
    off_state = pv(Keithley2400.off_state, name="OFF_STATE", scan=10, doc="The terminals while it is off")
    terminals = pv(Keithley2400.terminals, name="TERMINALS", scan=5, doc="Front or rear terminals")

    function = pv(Keithley2400.function, name="SOURCE", scan=2, doc="What it sources; off at a change")
    voltage = pv(Keithley2400.voltage, name="VOLT", precision=6, scan=2, doc="Source voltage")
    voltage_range = pv(
        Keithley2400.voltage_range, name="VOLT:RANGE", scan=5, doc="Range of the voltage source"
    )
    voltage_auto = pv(
        Keithley2400.voltage_auto, name="VOLT:AUTO", scan=5, doc="Range of the voltage source by itself"
    )
    current = pv(Keithley2400.current, name="CURR", precision=9, scan=2, doc="Source current")
    current_range = pv(
        Keithley2400.current_range, name="CURR:RANGE", scan=5, doc="Range of the current source"
    )
    current_auto = pv(
        Keithley2400.current_auto, name="CURR:AUTO", scan=5, doc="Range of the current source by itself"
    )
    delay = pv(Keithley2400.delay, name="DELAY", precision=6, scan=10, doc="From source to measurement")
    delay_auto = pv(Keithley2400.delay_auto, name="DELAY:AUTO", scan=10, doc="Source delay by the range")

    current_compliance = pv(
        Keithley2400.current_compliance,
        name="CURR:COMPL",
        precision=9,
        scan=2,
        doc="Most current while it sources volts",
    )
    current_tripped = pv(
        Keithley2400.current_tripped,
        name="CURR:TRIPPED",
        scan=1,
        severities={True: MAJOR},
        doc="Current compliance limits the source",
    )
    voltage_compliance = pv(
        Keithley2400.voltage_compliance,
        name="VOLT:COMPL",
        precision=6,
        scan=2,
        doc="Most volts while it sources current",
    )
    voltage_tripped = pv(
        Keithley2400.voltage_tripped,
        name="VOLT:TRIPPED",
        scan=1,
        severities={True: MAJOR},
        doc="Voltage compliance limits the source",
    )

    measures_voltage = pv(Keithley2400.measures_voltage, name="SENS:VOLT", scan=5, doc="Measure voltage")
    measures_current = pv(Keithley2400.measures_current, name="SENS:CURR", scan=5, doc="Measure current")
    measures_resistance = pv(Keithley2400.measures_resistance, name="SENS:RES", scan=5, doc="Measure ohms")
    concurrent = pv(Keithley2400.concurrent, name="SENS:CONC", scan=10, doc="Several functions at a time")
    sense_voltage_range = pv(
        Keithley2400.sense_voltage_range,
        name="SENS:VOLT:RANGE",
        scan=5,
        doc="Range of the voltage measurement",
    )
    sense_voltage_auto = pv(
        Keithley2400.sense_voltage_auto,
        name="SENS:VOLT:AUTO",
        scan=5,
        doc="Range of measured voltage by itself",
    )
    sense_current_range = pv(
        Keithley2400.sense_current_range,
        name="SENS:CURR:RANGE",
        scan=5,
        doc="Range of the current measurement",
    )
    sense_current_auto = pv(
        Keithley2400.sense_current_auto,
        name="SENS:CURR:AUTO",
        scan=5,
        doc="Range of measured current by itself",
    )
    ohms_mode = pv(Keithley2400.ohms_mode, name="SENS:RES:MODE", scan=10, doc="Who chooses source for ohms")
    nplc = pv(Keithley2400.nplc, name="NPLC", precision=2, scan=10, doc="Integration, power line cycles")
    filter = pv(Keithley2400.filter, name="FILTER", scan=10, doc="Averaging filter")
    filter_count = pv(Keithley2400.filter_count, name="FILTER:COUNT", scan=10, doc="Readings in the filter")
    filter_type = pv(Keithley2400.filter_type, name="FILTER:TYPE", scan=10, doc="Repeating or moving average")
    remote_sense = pv(Keithley2400.remote_sense, name="REMOTE_SENSE", scan=10, doc="Four wires")
    auto_zero = pv(Keithley2400.auto_zero, name="AUTO_ZERO", scan=10, doc="Auto-zero")

    points = pv(Keithley2400.points, name="SWEEP:POINTS", scan=5, doc="Points of a sweep")
    voltage_start = pv(
        Keithley2400.voltage_start,
        name="SWEEP:VOLT:START",
        precision=6,
        scan=5,
        doc="First voltage of a sweep",
    )
    voltage_stop = pv(
        Keithley2400.voltage_stop, name="SWEEP:VOLT:STOP", precision=6, scan=5, doc="Last voltage of a sweep"
    )
    current_start = pv(
        Keithley2400.current_start,
        name="SWEEP:CURR:START",
        precision=9,
        scan=5,
        doc="First current of a sweep",
    )
    current_stop = pv(
        Keithley2400.current_stop, name="SWEEP:CURR:STOP", precision=9, scan=5, doc="Last current of a sweep"
    )
    sweep = pv(Keithley2400.sweep, name="SWEEP", doc="Sweep from start to stop; done when done")
    sweep_volts = pv(
        Keithley2400.curve,
        field=Elements.voltage,
        name="SWEEP:V",
        scan=None,
        precision=6,
        doc="Voltage at each point",
    )
    sweep_amperes = pv(
        Keithley2400.curve,
        field=Elements.current,
        name="SWEEP:I",
        scan=None,
        precision=9,
        doc="Current at each point",
    )
    sweep_time = pv(
        Keithley2400.curve, field=Elements.time, name="SWEEP:TIME", scan=None, doc="Time of each point"
    )
    sweep_status = pv(
        Keithley2400.curve,
        field=Elements.status,
        name="SWEEP:STATUS",
        precision=0,
        doc="Status of each point",
    )

    text = pv(Keithley2400.text, name="TEXT", scan=10, doc="Text for the display")
    shows_text = pv(Keithley2400.shows_text, name="TEXT:SHOW", scan=10, doc="Show the text")
    beep = pv(Keithley2400.beep, name="BEEP", doc="Beep")
    local = pv(Keithley2400.local, name="LOCAL", doc="Front panel back; RS-232 only")
    reset = pv(Keithley2400.reset, name="RESET", doc="Defaults, output off")
