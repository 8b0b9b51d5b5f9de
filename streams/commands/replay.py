"""`affectstream replay`: recordings in, emotion events and their files out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mimetypes
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from extractors.errors import AffectstreamError, InputError

FORMATS = ("jsonl", "parquet", "vtt", "emotionml", "html")


def _formats(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
    for name in chosen:
        if name not in FORMATS:
            raise click.BadParameter(f"{name} is no format: use {', '.join(FORMATS)}")
    return chosen or FORMATS


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Seconds, m:ss or h:mm:ss to milliseconds."""
    if value is None:
        return None
    try:
        seconds = 0.0
        for part in value.split(":"):
            seconds = seconds * 60 + float(part)
    except ValueError as error:
        raise click.BadParameter(f"{value} is no time: use seconds, m:ss or h:mm:ss") from error
    if seconds < 0:
        raise click.BadParameter(f"{value} lies before the start")
    return round(seconds * 1000)


def _speed(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    if value == "max":
        return None
    try:
        speed = float(value)
    except ValueError as error:
        raise click.BadParameter(f"{value} is no speed: use max or a factor such as 1.0") from error
    if speed <= 0:
        raise click.BadParameter("speed has to be above 0")
    return speed


def _configured(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    from streams.cli import sections

    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **sections(value).get("replay", {})}


@click.command()
@click.argument("media", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Results: one folder per recording in here (with --serve: results).")
@click.option("--channels", help="Who speaks on which channel: left=customer,right=agent or 0=NAME:ROLE; mix=ROLE; video=ROLE for the person in the picture.")
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False), help="Policy file: who is analysed for what (`affectstream policy`).")
@click.option("--language", help="Language of the speech (ISO 639-1); found per speaker when not given.")
@click.option("--model-profile", type=click.Choice(["bundled", "fast", "research"]), default="bundled", show_default=True,
              help="bundled: multilingual; fast: English, smaller; research: a voice head trained on non-commercial data.")
@click.option("--format", "formats", default=",".join(FORMATS), show_default=True, callback=_formats, help="Files to write.")
@click.option("--speed", default="max", show_default=True, callback=_speed, help="max, or a factor of real time such as 1.0; never changes the events.")
@click.option("--fps", type=click.FloatRange(0.5, 60), default=10.0, show_default=True, help="Pictures analysed per second.")
@click.option("--from", "from_ms", callback=_time, help="Begin here (seconds, m:ss or h:mm:ss); times stay on the recording's clock.")
@click.option("--to", "to_ms", callback=_time, help="End here.")
@click.option("--no-video", is_flag=True, help="Do not look at the picture.")
@click.option("--max-faces", type=click.IntRange(1, 16), default=4, show_default=True, help="Faces followed at once.")
@click.option("--vad-threshold", type=click.FloatRange(0.2, 0.95), default=0.35, show_default=True, help="Speech probability that opens an utterance.")
@click.option("--min-silence-ms", type=click.IntRange(200, 4000), default=500, show_default=True, help="Silence that ends an utterance.")
@click.option("--max-utterance-ms", type=click.IntRange(6000, 28000), default=20000, show_default=True, help="Longest utterance.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads of the speech model.")
@click.option("--resume", is_flag=True, help="Skip recordings already finished in --out with the same content and options.")
@click.option("--serve", is_flag=True, help="Show it on the dashboard while it runs, at the pace of the media unless --speed is given, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="With --serve: port on loopback.")
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE|default", help="Alert rules in YAML: what fires goes to alerts.jsonl, the report and, with --serve, the dashboard.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per recording instead of the table.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), callback=_configured, is_eager=True, expose_value=False,
              help="Settings in TOML, section [replay]; flags and environment go before.")
@click.pass_context
def replay(ctx: click.Context, /, media: tuple[Path, ...], out: Path | None, **flags: Any) -> int:
    """Analyse recordings: wav, mp3, flac, ogg, m4a, mp4, mkv, webm, mov.

    Writes per recording events.jsonl, events.parquet, shifts.jsonl, shifts.parquet, transcript.vtt, emotion.vtt, emotion.xml (EmotionML), report.html and
    summary.json; with --rules alerts.jsonl.
    A recording that cannot be read is named with its cure and the others still complete.
    """
    from extractors.speech.segment import SegmentOptions
    from streams.replay import ReplayOptions, folder_names, writable
    from streams.topology import Options, Resources

    if flags["from_ms"] is not None and flags["to_ms"] is not None and flags["to_ms"] <= flags["from_ms"]:
        raise InputError("--to lies before --from", where="replay", cure="give a later --to")
    if out is None and not flags["serve"]:
        raise click.UsageError("Missing option '--out'.", ctx)
    out = out or Path("results")
    writable(out)
    watching = None
    if flags["serve"]:
        from streams.commands.serve import serve_replay

        if ctx.get_parameter_source("speed") is ParameterSource.DEFAULT:
            flags["speed"] = 1.0
        watching = ctx.with_resource(serve_replay(port=flags["port"], rules=flags["rules"]))
        click.echo(f"dashboard on {watching.url}", err=True)
    segmenter = SegmentOptions(threshold=flags["vad_threshold"], min_silence_ms=flags["min_silence_ms"], max_utterance_ms=flags["max_utterance_ms"])
    analysis = Options(profile=flags["model_profile"], segmenter=segmenter, max_faces=flags["max_faces"])
    options = ReplayOptions(
        channels=flags["channels"], language=flags["language"], fps=flags["fps"], from_ms=flags["from_ms"], to_ms=flags["to_ms"],
        speed=flags["speed"], video=not flags["no_video"], policy=flags["policy"], analysis=analysis,
    )
    resources = Resources(analysis, threads=flags["threads"])
    batch = _Batch(options, resources, out, flags["formats"], resume=flags["resume"], watching=watching, rules=flags["rules"])
    rows, status = [], 0
    for path, name in folder_names(media).items():
        try:
            rows.append(batch.one(path, out / name))
        except AffectstreamError as error:
            click.echo(f"affectstream: {error}", err=True)
            rows.append({"media": path.name, "status": "failed", "problems": [str(error)]})
            status = 2
        if rows[-1]["status"] == "interrupted" or batch.stopped:
            status = 130
            break
    if flags["as_json"]:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    else:
        _table(rows, out)
    if watching and status != 130:
        click.echo(f"still to be seen on {watching.url} (Ctrl-C ends it)", err=True)
        watching.wait()
    return status


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that what is done is written in good order; a second one ends at once.

    An exception raised by the signal itself could land inside a library's callback, which swallows it.
    """
    stop = threading.Event()

    def interrupted(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class _Batch:
    """One call of the command: what is the same for all its recordings."""

    def __init__(
        self, options: Any, resources: Any, out: Path, formats: tuple[str, ...], *, resume: bool, watching: Any = None, rules: Path | None = None
    ) -> None:
        from streams.alerts.rules import file_of, load

        self._options, self._resources, self._out, self._formats = options, resources, out, formats
        self._resume, self._watching = resume, watching
        self._rules = load(rules) if rules else None
        self._rules_id = hashlib.sha256(file_of(rules).read_bytes()).hexdigest()[:16] if rules else None
        self.stopped = False
        self._console = Console(stderr=True)

    def one(self, media: Path, folder: Path) -> dict[str, Any]:
        """Analyse one recording and write its files; the summary."""
        from extractors.registry import sha256_of
        from streams import policy as policies
        from streams.egress.jsonl import JsonlWriter
        from streams.replay import finished, replay, summarize

        if self._resume and media.is_file():
            done = finished(folder, self._options.fingerprint(sha256_of(media)), self._formats, self._rules_id)
            if done:
                if self._watching:
                    self._watching.archived(folder, media)
                return {**done, "skipped": True}
        began = time.monotonic()
        writer: list[JsonlWriter] = []
        with self._progress() as progress:
            task = progress.add_task(media.name, total=None)

            def opened(start: Any, info: Any) -> None:
                writer.append(JsonlWriter(folder / "events.jsonl"))
                rules = policies.load(self._options.policy)
                policies.audit(self._out / "policy-audit.jsonl", rules, start.session)
                if self._watching:
                    self._watching.opened(start, media, folder)

            def made(event: Any) -> None:
                writer[0].write(event)
                if self._watching:
                    self._watching.feed.event(event)

            try:
                with _interruptible() as stop:
                    result = replay(
                        media, options=self._options, resources=self._resources, on_start=opened, on_event=made, stop=stop,
                        on_progress=lambda position, duration: progress.update(task, completed=position, total=duration),
                        on_record=self._watching.feed.record if self._watching else None,
                    )
                self.stopped = stop.is_set()
            except BaseException:
                for unfinished in writer:
                    unfinished.abandon()
                raise
            if self._watching:
                self._watching.ended(result.start.session, result.duration_ms)
            progress.update(task, description=f"{media.name}: writing")
            summary = summarize(result, self._options.fingerprint(result.info.sha256), self._formats, time.monotonic() - began)
            alerts = self._judged(result)
            summary |= {"rules": self._rules_id, "alerts": len(alerts)} if self._rules is not None else {}
            writer[0].close()
            write_files(result, folder, self._formats, alerts=None if self._rules is None else alerts)
            (folder / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for problem in result.problems:
            click.echo(f"affectstream: {media.name}: {problem}", err=True)
        return summary

    def _judged(self, result: Any) -> list[Any]:
        """Alerts of the rules over the whole recording, silence up to its end included."""
        from streams.commands.serve import judge
        from streams.records import Watermark

        end = Watermark(result.start.session, "", "fuse", result.duration_ms, True)
        return judge(result.start, self._rules, [*result.events, end]) if self._rules else []

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        return Progress(*columns, console=self._console, transient=True, disable=not sys.stderr.isatty())


def write_files(result: Any, folder: Path, formats: Iterable[str], *, alerts: Sequence[Any] | None = None) -> None:
    """Every format but events.jsonl (which grew during the run), the shifts, the alerts where rules were judged, and where the
    faces of its moments of change are."""
    import msgspec

    from streams.egress import shift_files
    from streams.egress.emotionml import emotionml
    from streams.egress.parquet import ParquetWriter
    from streams.egress.vtt import captions, emotion_track

    wanted, shifts, session = set(formats), result.metrics.shifts, result.start.session
    if "jsonl" in wanted:
        (folder / "shifts.jsonl").write_bytes(shift_files.lines(shifts, session))
    if alerts is not None:
        (folder / "alerts.jsonl").write_bytes(b"".join(msgspec.json.encode(alert) + b"\n" for alert in alerts))
    if "parquet" in wanted:
        shift_files.write_table(shifts, session, folder / "shifts.parquet")
        table = ParquetWriter(folder / "events.parquet")
        for event in result.events:
            table.write(event)
        table.close()
    if "vtt" in wanted:
        (folder / "transcript.vtt").write_text(captions(result.events), "utf-8")
        (folder / "emotion.vtt").write_text(emotion_track(result.events), "utf-8")
    if "emotionml" in wanted:
        (folder / "emotion.xml").write_text(emotionml(result.events, media=result.media.name, media_type=mimetypes.guess_type(result.media.name)[0] or ""), "utf-8")
    if "html" in wanted:
        from streams.egress.report import write_report

        write_report(result, folder / "report.html", alerts=alerts or ())
    from streams.egress import face_index
    from streams.egress.faces import moments

    seen = moments(result.events, result.faces, result.start.participants, result.start.decisions) if result.info.video is not None else []
    face_index.write(folder, seen)
    if "jsonl" not in wanted:
        (folder / "events.jsonl").unlink(missing_ok=True)


def _table(rows: list[dict[str, Any]], out: Path) -> None:
    table = Table(title=f"Results in {out}")
    for column in ("recording", "status", "length", "took", "events"):
        table.add_column(column, justify="right" if column == "length" else "left", overflow="fold")
    for row in rows:
        length, seconds = row.get("duration_ms"), row.get("seconds")
        labels = [f"{label} {count}" for label, count in sorted(row.get("labels", {}).items(), key=lambda item: (-item[1], item[0]))]
        labels += [f"withheld {row['withheld']}"] if row.get("withheld") else []
        pace = f", {length / 1000 / seconds:.1f}\N{MULTIPLICATION SIGN}" if length and seconds and not row.get("skipped") else ""
        table.add_row(
            row["media"], "skipped (done)" if row.get("skipped") else row["status"],
            f"{length // 60000}:{length % 60000 / 1000:04.1f}" if length is not None else "", f"{seconds:.1f} s{pace}" if seconds is not None else "",
            ", ".join(labels),
        )
    Console().print(table)
