"""Settings: errors are one line with the place, the mistake and what would fix it."""

import os
from pathlib import Path

import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.reference import as_yaml, reference_table
from watchmove.service.settings.settings import Settings, settings_hash, usable_cores


def write(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_the_laptop_preset_is_valid() -> None:
    """What `make run` uses loads, and writes to local folders only."""
    settings = load_settings(LAPTOP)

    assert settings.store.startswith("file://")


def test_the_laptop_run_saves_while_it_trains() -> None:
    """It can be killed at any moment, and resumes from a recent checkpoint."""
    settings = load_settings(LAPTOP)
    for training in (settings.pretrain, settings.evaluate.detector):
        assert training.checkpoint_every_iterations <= training.iterations / 2


def test_overrides_beat_the_file(tmp_path: Path) -> None:
    """Arguments of the command line take precedence, one key at a time."""
    path = write(tmp_path, "pretrain: {iterations: 5, batch_size: 7}")
    settings = load_settings(path, ["pretrain.iterations=9", "store=s3://b/x/"])

    assert (settings.pretrain.iterations, settings.pretrain.batch_size, settings.store) == (9, 7, "s3://b/x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pretrain: {iteration: 5}", r"pretrain\.iteration is no setting; known here: .*iterations"),
        ("pretrain: {iterations: many}", r"pretrain\.iterations = 'many': not a number"),
        ("pretrain: {iterations: 0}", r"pretrain\.iterations = 0: .*greater"),
        ("stoer: x", r"stoer is no setting; known here: .*store"),
        ("store: ftp://x", r"store = 'ftp://x': .*s3://BUCKET"),
        ("evaluate: {freeze_through: [6]}", r"freeze_through = \[6\]: an AlexNet .*from 0 to 5"),
        ("evaluate: {seeds: [0, 1, 0]}", r"seeds = \[0, 1, 0\]: 0 appears more than once"),
        ("evaluate: {initialisations: [random, random]}", "random appears more than once"),
        ("evaluate: {test_split: 2007/test}", r"an image set is the file ImageSets/Main/NAME\.txt"),
        (
            "evaluate: {detector: {rois_per_image: 4, foreground_fraction: 0.1}}",
            r"\(4\) is no region",
        ),
        ("extract: {motion_gaps: [1, 0]}", r"extract\.motion_gaps\.1 = 0: .*greater"),
        (
            "extract: {hardware_decoding: true}",
            r"extract: hardware_decoding \(true\) .*device is cpu; set device: cuda",
        ),
        ("extract: {motion_gaps: [3, 3]}", r"motion_gaps .*a distance twice"),
        ("extract: 5", "extract = 5: a section; give its keys"),
        ("pretrain: {background_threshold: 0.9}", "is not below foreground_threshold"),
        ("pretrain: {trunk: alexnet-small}\nevaluate: {classification: true}", r"yaml: evaluate\.classification has"),
        ("store: s3://KEY:WORD@b/x", "store: the address has a user or a password"),
        ("plan: {manifest: 's3://KEY@b/list.csv'}", r"plan\.manifest: the address has a user or a password"),
        ("pretrain:\n  iterations: 1_0", r"line 2: not a whole number: '1_0'"),
        ("pretrain: {iterations: 0x10}", "not a whole number: '0x10'"),
        ("pretrain: {iterations: 010}", "010 begins with 0"),
        ("pretrain: {iterations: 1:30}", "not a whole number: '1:30'"),
        ("pretrain: {learning_rate: 1_0.5}", "not a number: '1_0.5'"),
        ("pretrain: {iterations: '1_0'}", r"pretrain\.iterations = '1_0': not a number"),
        ("pretrain: {iterations: ' 1'}", r"pretrain\.iterations = ' 1': not a number"),
        ("pretrain: {iterations: １０}", r"pretrain\.iterations = '１０': not a number"),
        ("pretrain: {iterations: true}", r"pretrain\.iterations = True: not a number"),
        ("pretrain: {device: 'cuda:１'}", r"pretrain\.device = 'cuda:１'"),
        ("evaluate: {seeds: ['1_0']}", r"evaluate\.seeds = \['1_0'\]: not a number"),
        ("extract: {motion_gaps: ['1_0']}", r"extract\.motion_gaps = \['1_0'\]: not a number"),
        ("evaluate: {seeds: [-1]}", r"evaluate\.seeds\.0 = -1: .*greater"),
        ("pretrain: {seeds: [18446744073709551616]}", r"pretrain\.seeds\.0 = 18446744073709551616: .*less"),
        ("pretrain: {seed: 18446744073709551616}", r"pretrain\.seed = 18446744073709551616: .*less"),
        ("plan: {max_video_seconds: .inf}", r"plan\.max_video_seconds = inf: .*finite"),
        ("pretrain: {drop_fractions: [.nan]}", r"pretrain\.drop_fractions\.0 = nan: .*finite"),
        ("pretrain: {drop_fractions: [60]}", r"pretrain\.drop_fractions\.0 = 60.*: .*less"),
        (r'evaluate: {initialisations: ["a\ud800"]}', r"line 1: 'a\\ud800' is no Unicode text"),
        ("a: 2001-13-45", "not YAML"),
        ("a: [", "line 1: not YAML"),
        ("- a list", "top level is not a mapping"),
    ],
)
def test_wrong_settings_get_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """A wrong key, type or range is named with its place."""
    with pytest.raises(InvalidInput, match=expected) as caught:
        load_settings(write(tmp_path, text))

    assert "\n" not in str(caught.value)
    assert "WORD" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_at_sign_in_the_name_of_a_folder_is_a_letter(tmp_path: Path) -> None:
    """Only addresses of hosts have users."""
    path = write(tmp_path, "{store: 'file://runs@home/store', videos: 's3://b/me@home/videos'}")

    assert load_settings(path).store == "file://runs@home/store"


def test_decimal_numbers_in_text_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text; editors of Windows begin a file with a mark."""
    path = tmp_path / "settings.yaml"
    path.write_text("pretrain: {iterations: '12', learning_rate: 1e-3}\nevaluate: {seeds: ['3']}\n", "utf-8-sig")
    settings = load_settings(path)

    assert (settings.pretrain.iterations, settings.pretrain.learning_rate) == (12, 0.001)
    assert settings.evaluate.seeds == (3,)


@pytest.mark.parametrize("word", ["store", "=x", "store.deeper=x", "a.b=[", "pretrain.seed=1_0"])
def test_wrong_overrides_get_one_line(tmp_path: Path, word: str) -> None:
    """A wrong `--set` argument is named in one line."""
    path = write(tmp_path, "store: file:///x")
    with pytest.raises(InvalidInput, match=r"--set|is no setting"):
        load_settings(path, [word])


@pytest.mark.parametrize("word", ["store=ftp://x", "evaluate.seeds=[a]", "extrakt.seed=1", "extract.window_frames=3"])
def test_an_error_names_the_command_line_if_the_mistake_is_there(tmp_path: Path, word: str) -> None:
    """The message names the command line, not the settings file, as the source of the mistake."""
    with pytest.raises(InvalidInput, match=r"^command line: "):
        load_settings(write(tmp_path, "store: file:///x"), [word])


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The message about a missing settings file names the file."""
    with pytest.raises(InvalidInput, match=r"absent\.yaml: cannot be read"):
        load_settings(tmp_path / "absent.yaml")


def test_hash_depends_on_values_only() -> None:
    """Equal settings have equal hashes; another value gives another hash."""
    one, same, other = (Settings(store=f"file:///{name}") for name in ("a", "a", "b"))

    assert settings_hash(one) == settings_hash(same) != settings_hash(other)


def test_printed_settings_load_to_the_same(tmp_path: Path) -> None:
    """What `watchmove settings` prints is a settings file."""
    settings = load_settings(LAPTOP)

    assert load_settings(write(tmp_path, as_yaml(settings))) == settings


def test_every_setting_is_explained() -> None:
    """The meaning of each setting reads without its neighbours: it begins as a sentence does, and ends as one."""
    rows = reference_table().splitlines()[2:]
    meanings = {name.strip(): meaning.strip() for _, name, *_, meaning, _ in (row.split("|") for row in rows)}

    assert len(meanings) == len(rows) > 50
    for name, meaning in meanings.items():
        assert meaning[0].isupper(), name
        assert meaning.endswith("."), name
        assert meaning.split()[0] not in {"And", "But", "It", "Its", "Same", "They", "This", "Also"}, name


def test_the_range_of_each_setting_is_told() -> None:
    """The words of a closed list, alone or as members of a list, and all limits of a number."""
    rows = (row.split(" | ") for row in reference_table().splitlines()[2:])
    ranges = {name.strip("|` "): text.strip() for name, _, text, *_ in rows}

    assert ranges["pretrain.schedule"] == "`cosine`, `step`"
    assert ranges["plan.licences"].startswith("`commercial`, `derivatives`, `by`, ")
    assert ranges["world.width_pixels"] == "≥ 96, ≤ 1920, multiple of 2"
    assert ranges["store"] == ""


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "a word\n"}, None),
        ({}, None),
    ],
)
def test_cores_follow_the_quota_of_either_version_of_control_groups(
    files: dict[str, str], cores: int | None, tmp_path: Path
) -> None:
    """Without a quota, the cores are those that the process may run on."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert usable_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))
