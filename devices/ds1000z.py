"""PVs of a Rigol DS1000Z digital oscilloscope."""

from labioc.drivers.ds1000z import DS1000Z, ScopeChannel, Trace, Unit
from labioc.drivers.scpi import Identity

from .core import AlarmSeverity, Device, DeviceGroup, SubGroups, pv

OTHER_UNIT = dict.fromkeys((Unit.WATT, Unit.AMPERE, Unit.UNKNOWN), AlarmSeverity.MINOR_ALARM)


class ChannelPVs(DeviceGroup):
    """An analog channel."""

    # the SCAN of WAVE and of MEM is that of what belongs to them
    wave = pv(ScopeChannel.screen, field=Trace.volts, name="WAVE", scan=0.5, doc="Waveform on the screen")
    time = pv(
        ScopeChannel.screen,
        field=Trace.time,
        name="TIME",
        precision=9,
        scan=None,
        doc="Of each point of WAVE",
    )
    x0 = pv(
        ScopeChannel.screen,
        field=Trace.origin,
        name="X0",
        precision=9,
        scan=None,
        doc="Time of its first point",
    )
    dx = pv(
        ScopeChannel.screen,
        field=Trace.increment,
        name="DX",
        precision=12,
        scan=None,
        doc="From point to point",
    )

    memory = pv(
        ScopeChannel.memory, field=Trace.volts, name="MEM", scan=1, doc="Waveform in the memory, if stopped"
    )
    memory_time = pv(
        ScopeChannel.memory,
        field=Trace.time,
        name="MEM:TIME",
        precision=9,
        scan=None,
        doc="Of each point of MEM",
    )
    memory_x0 = pv(
        ScopeChannel.memory,
        field=Trace.origin,
        name="MEM:X0",
        precision=9,
        scan=None,
        doc="Time of its first point",
    )
    memory_dx = pv(
        ScopeChannel.memory,
        field=Trace.increment,
        name="MEM:DX",
        precision=12,
        scan=None,
        doc="From point to point",
    )

    display = pv(ScopeChannel.display, name="DISPLAY", scan=5)
    scale = pv(ScopeChannel.scale, name="SCALE", precision=4, scan=5, egu="V/div")
    offset = pv(ScopeChannel.offset, name="OFFSET", scan=5)
    coupling = pv(ScopeChannel.coupling, name="COUPLING", scan=5, doc="Input coupling")
    probe = pv(ScopeChannel.probe, name="PROBE", precision=2, scan=5)
    bandwidth_limit = pv(ScopeChannel.bandwidth_limit, name="BWL", scan=10)
    invert = pv(ScopeChannel.invert, name="INVERT", scan=10, doc="Turned upside down")
    # in other units the waveforms would be shown as volts and be none
    unit = pv(ScopeChannel.unit, name="UNIT", scan=10, severities=OTHER_UNIT)

    vpp = pv(ScopeChannel.vpp, name="VPP", scan=5)
    vmax = pv(ScopeChannel.vmax, name="VMAX", scan=5)
    vmin = pv(ScopeChannel.vmin, name="VMIN", scan=5)
    amplitude = pv(ScopeChannel.amplitude, name="VAMP", scan=5)
    average = pv(ScopeChannel.average, name="VAVG", scan=5)
    rms = pv(ScopeChannel.rms, name="VRMS", scan=5)
    frequency = pv(ScopeChannel.frequency, name="FREQ", scan=5)
    period = pv(ScopeChannel.period, name="PERIOD", precision=9, scan=5)
    rise_time = pv(ScopeChannel.rise_time, name="RISE", precision=9, scan=5)
    fall_time = pv(ScopeChannel.fall_time, name="FALL", precision=9, scan=5)
    width = pv(ScopeChannel.width, name="WIDTH", precision=9, scan=5)
    duty = pv(ScopeChannel.duty, name="DUTY", scan=5)


class DS1000ZPVs(Device):
    """Rigol DS1000Z or MSO1000Z digital oscilloscope."""

    scopes = SubGroups(ChannelPVs, of=DS1000Z.scopes, prefix="CH{ch}:")

    time_scale = pv(DS1000Z.time_scale, name="TIME:SCALE", precision=9, scan=2, egu="s/div")
    time_offset = pv(DS1000Z.time_offset, name="TIME:OFFSET", precision=9, scan=2)
    time_mode = pv(DS1000Z.time_mode, name="TIME:MODE", scan=10)

    rate = pv(DS1000Z.sample_rate, name="ACQ:RATE", precision=0, scan=2, egu="Sa/s", doc="Sample rate")
    depth = pv(DS1000Z.depth, name="ACQ:DEPTH", scan=2)
    acquisition_type = pv(DS1000Z.acquisition_type, name="ACQ:TYPE", scan=10)
    averages = pv(DS1000Z.averages, name="ACQ:AVERAGES", scan=10)

    status = pv(DS1000Z.status, name="TRIG:STATUS", scan=0.5, doc="What the trigger does")
    trigger_mode = pv(DS1000Z.trigger_mode, name="TRIG:MODE", scan=5)
    sweep = pv(DS1000Z.sweep, name="TRIG:SWEEP", scan=2, doc="AUTO shows a trace also without a trigger")
    source = pv(DS1000Z.source, name="TRIG:SOURCE", scan=5)
    slope = pv(DS1000Z.slope, name="TRIG:SLOPE", scan=5)
    level = pv(DS1000Z.level, name="TRIG:LEVEL", scan=2)
    trigger_coupling = pv(DS1000Z.trigger_coupling, name="TRIG:COUPLING", scan=10)
    holdoff = pv(DS1000Z.holdoff, name="TRIG:HOLDOFF", precision=9, scan=10)
    noise_reject = pv(DS1000Z.noise_reject, name="TRIG:NREJECT", scan=10)

    run = pv(DS1000Z.run, name="RUN")
    stop = pv(DS1000Z.stop, name="STOP")
    single = pv(DS1000Z.single, name="SINGLE")
    force = pv(DS1000Z.force, name="FORCE")
    clear = pv(DS1000Z.clear, name="CLEAR")
    autoscale = pv(DS1000Z.autoscale, name="AUTOSCALE")

    model = pv(DS1000Z.identity, field=Identity.model, name="MODEL", scan=None, doc="Model")
    serial = pv(DS1000Z.identity, field=Identity.serial, name="SERIAL", scan=None, doc="Serial number")
    firmware = pv(DS1000Z.identity, field=Identity.firmware, name="FIRMWARE", scan=None, doc="Firmware")
    error = pv(DS1000Z.error, name="ERROR", scan=5)
