"""Sessions, deadlines, the stream batch and the devices; no HTTP, no Gradio.

Public surface, each name in its module (nothing is imported here, so that it costs nothing):

- `frames`: `Frame`, `Stamp`, `PTS_RATE`, `i420_shape`; `controls`: `Control`, `Controls`,
  `ControlError`; `clock`: `Clock`, `SystemClock`, `ManualClock`.
- `config`: `Options` (what was asked), `resolve`, `Config` (what runs), `ConfigError`.
- `pipeline`: `Pipeline` and what it is built with and returns: bring your own model.
- `registry`: `load_pipeline`, `build_pipeline`, `names`.
- `host`: `Host`, `Session`, `HostInfo`, `Output`, `Event`, `HostRefused`: run sessions.
- `supervisor`: `WorkerHost`, in a process of its own; `local`: `LocalHost`, on a thread.
- `offline`: `run`, frames in and outputs out without losing any.
- `handoff`: `Mailbox`, `Outbox`; `pacing`: `Pacer`; `telemetry`: windows and rates.

All but `engine`, `transfer`, `results`, `offline`, `calibrate` and the built-in models' modules
load no torch when they are imported.
"""
