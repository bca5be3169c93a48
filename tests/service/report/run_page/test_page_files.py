"""The report as a folder: pictures first, the page last, and nothing left of an earlier one."""

from pathlib import Path

import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.report.run_page.page_files import (
    PageFiles,
    pictures_of,
    write_folder,
    write_page,
)
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return open_store(f"file://{tmp_path}/store")


def page_with(*contents: bytes) -> tuple[str, PageFiles]:
    """A page that shows these pictures."""
    files = PageFiles()
    return "".join(f'<img src="{files.add(content, ".jpg")}">' for content in contents), files


def names(store: Store) -> set[str]:
    """The names of the objects in the folder."""
    return {item.key.removeprefix("runs/r/report/") for item in store.list("runs/r/report/")}


def test_a_page_that_is_written_again_leaves_no_picture_of_the_first(store: Store) -> None:
    """What both show is not written twice."""
    first, files = page_with(b"one", b"two")
    write_page(store, "r", first, files)
    kept = store.head(f"runs/r/report/{files.add(b'two', '.jpg')}")
    second, others = page_with(b"two", b"three")
    key = write_page(store, "r", second, others)

    assert key == "runs/r/report/index.html"
    assert store.read(key) == second.encode()
    assert names(store) == {"index.html", *pictures_of(second)}
    assert len(pictures_of(second)) == 2
    assert kept is not None
    assert store.head(kept.key) == kept


def test_a_killed_writer_leaves_the_earlier_page_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the page is written, and before the old pictures are removed."""
    first, files = page_with(b"one", b"two")
    write_page(store, "r", first, files)
    second, others = page_with(b"three")
    for method in ("write", "remove"):
        with monkeypatch.context() as patched:
            original = getattr(store, method)

            def killed(key: str, *rest: bytes, original: object = original, method: str = method) -> None:
                if method == "remove" or key.endswith("index.html"):
                    raise KeyboardInterrupt
                assert callable(original)
                original(key, *rest)

            patched.setattr(store, method, killed)
            with pytest.raises(KeyboardInterrupt):
                write_page(store, "r", second, others)
        shown = (store.read("runs/r/report/index.html") or b"").decode()

        assert shown == (first if method == "write" else second)
        assert pictures_of(shown) <= names(store)
    write_page(store, "r", second, others)
    assert names(store) == {"index.html", *pictures_of(second)}


def test_one_file_holds_its_pictures() -> None:
    """As data addresses; other text stays."""
    page, files = page_with(b"one")
    single = files.embedded(f"<p>0123456789abcdef.jpg</p>{page}")

    assert single == '<p>0123456789abcdef.jpg</p><img src="data:image/jpeg;base64,b25l">'
    assert pictures_of(single) == set()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in its place is invalid input."""
    (tmp_path / "file").write_text("")
    page, files = page_with(b"one")
    write_folder(tmp_path / "new" / "folder", page, files)

    assert (tmp_path / "new" / "folder" / "index.html").read_text() == page
    with pytest.raises(InvalidInput, match="file"):
        write_folder(tmp_path / "file", page, files)
