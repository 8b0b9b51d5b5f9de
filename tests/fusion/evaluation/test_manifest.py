"""A manifest that a user wrote is read whole, or refused with the line and the cure of every problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractors.errors import InputError
from fusion.evaluation.rows import COLUMNS, read_manifest
from fusion.evaluation.tasks import evaluate


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "my calls.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_known_columns_are_read_and_others_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    file = manifest(
        tmp_path,
        "path,start_ms,end_ms,channel,text,label,valence,speaker,mood\n"
        'a.wav,100,2500,1,"Hello, you",joy,-0.5,anna,grumpy\n\n,,,,,,,,\n',
    )
    (row,) = read_manifest(file)
    read = (row.start_ms, row.end_ms, row.channel, row.text, row.label, row.valence, row.speaker, row.line)
    assert read == (100, 2500, 1, "Hello, you", "joy", -0.5, "anna", 2)
    assert row.path == tmp_path / "a.wav"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = manifest(tmp_path, "text,label\r\nhello,joy\r\n", "utf-8-sig")
    assert read_manifest(file)[0].text == "hello"


def test_labels_may_be_a_distribution_or_a_list(tmp_path: Path) -> None:
    file = manifest(tmp_path, 'text,labels\na,"{""anger"": 3, ""joy"": 1}"\nb,"[""joy"", ""love""]"\n')
    first, second = read_manifest(file)
    assert first.labels == {"anger": 0.75, "joy": 0.25}
    assert second.labels == {"joy": 0.5, "love": 0.5}


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    file = manifest(
        tmp_path,
        "path,start_ms,end_ms,valence,labels\nnone.wav,,,,\n,12.5,,,\n,900,100,,\n,,,4,\n,,,,not json\n,,,,[]\na,b\n",
    )
    with pytest.raises(InputError) as refused:
        read_manifest(file)
    text = str(refused.value)
    assert "7 problems" in text and "my calls.csv" in text
    for part in (
        "line 2: there is no file",
        "line 3: start_ms is '12.5': give a whole number",
        "line 4: end_ms 100 is not after start_ms 900",
        "line 5: valence is 4: scale it to -1 … 1",
        "line 6: labels is not JSON",
        "line 7: labels holds no label",
        "line 8: 2 cells under 5 columns",
    ):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no known column"),
        ("a;b;c\n1;2;3\n", "columns separated by commas"),
        ("text,text\na,b\n", "column text occurs twice"),
        ("text,label\n", "has no rows"),
    ],
)
def test_a_table_that_is_no_manifest_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_manifest(manifest(tmp_path, content))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        read_manifest(manifest(tmp_path, "text,label\nschön,joy\n", "latin-1"))


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the manifest"):
        read_manifest(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("task", "content", "says"),
    [
        ("text-emotion", "text,label\nhello,\n", "line 2: nothing to compare with"),
        ("text-emotion", "text,label\n,joy\n", "line 2: text is empty"),
        ("speech-emotion", "text,label\nhello,joy\n", "line 2: path is empty"),
        ("transcription", "text\nhello\n", "line 2: path is empty"),
        ("expression", "label\njoy\n", "line 2: path is empty"),
    ],
)
def test_a_row_without_what_the_task_needs_is_named(tmp_path: Path, task: str, content: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        evaluate(task, manifest=manifest(tmp_path, content))


def test_unknown_tasks_limits_and_splits_are_refused(tmp_path: Path) -> None:
    file = manifest(tmp_path, "text,label,split\nhello,joy,test\n")
    with pytest.raises(InputError, match="no task is called mood"):
        evaluate("mood", manifest=file)
    with pytest.raises(InputError, match="the limit is 0"):
        evaluate("text-emotion", manifest=file, limit=0)
    with pytest.raises(InputError, match="no row of split dev"):
        evaluate("text-emotion", manifest=file, split="dev")


def test_the_documented_columns_are_known() -> None:
    documented = (
        "path, start_ms, end_ms, channel, text, label, labels, valence, arousal, dominance, intensity, speaker, sex, "
        "language, dialogue, turn, role, split, context, title"
    )
    assert set(documented.split(", ")) == set(COLUMNS)
