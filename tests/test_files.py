import os
from pathlib import Path

import pytest

from captcha_lib.config import InputError
from captcha_lib.files import new_folder, part_of, replacing, sole_writer, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    write_text(path, "é\n")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_bytes() == "é\n".encode()
    assert path.read_text() == "new"
    assert names(path.parent) == ["text.txt"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_what_was_not_finished_leaves_nothing(tmp_path, stop):
    path = tmp_path / "text.txt"
    write_text(path, "old")
    with pytest.raises(stop), replacing(path) as part:
        part.write_text("half")
        raise stop
    with pytest.raises(stop), new_folder(tmp_path / "new") as part:
        (part / "one.txt").touch()
        raise stop
    assert names(tmp_path) == ["text.txt"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_folder_may_be_there_if_it_is_empty(tmp_path, exists):
    if exists:
        (tmp_path / "new").mkdir()
    with new_folder(tmp_path / "new") as part:
        (part / "one.txt").touch()
    assert names(tmp_path) == ["new"]
    assert names(tmp_path / "new") == ["one.txt"]


@pytest.mark.parametrize("inside", ["old", "old/one.txt"])
def test_no_folder_is_new_where_something_is(tmp_path, inside):
    write_text(tmp_path / inside, "kept")
    with pytest.raises(InputError, match="not empty"), new_folder(tmp_path / "old"):
        pytest.fail("the block must not be entered")
    assert (tmp_path / inside).read_text() == "kept"


@pytest.mark.parametrize("place", ["file/x", "file/deeper/x", "folder"])
@pytest.mark.parametrize("write", [replacing, new_folder])
def test_places_that_cannot_be_written(tmp_path, place, write):
    write_text(tmp_path / "file", "kept")
    write_text(tmp_path / "folder" / "inside", "kept")
    with pytest.raises(InputError, match=place) as error, write(tmp_path / place) as part:
        part.write_text("new")
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == ["inside"]


def test_others_may_read_what_is_written(tmp_path):
    """Temporary files are private; what is left must not be."""
    write_text(tmp_path / "text.txt", "")
    with new_folder(tmp_path / "new"):
        pass
    assert (tmp_path / "text.txt").stat().st_mode & 0o777 == 0o666 & ~umask()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o777 & ~umask()


def test_what_a_killed_run_left_is_replaced(tmp_path):
    left = part_of(tmp_path / "text.txt")
    (left / "deeper").mkdir(parents=True)
    (left / "text.txt").write_text("half")
    (left / "deeper" / "file").touch()
    write_text(tmp_path / "text.txt", "whole")
    assert names(tmp_path) == ["text.txt"]
    assert (tmp_path / "text.txt").read_text() == "whole"


def test_a_link_in_place_of_the_temporary_folder_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    part_of(tmp_path / "text.txt").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="a link is in the place of a temporary folder"):
        write_text(tmp_path / "text.txt", "new")
    assert names(tmp_path / "precious") == ["file"]


# One writer at a time


def in_another_process(act) -> int:
    """Runs something in a process forked off; its exit status, 1 if it raised InputError."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except InputError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def claim(folder: Path) -> None:
    with sole_writer(folder):
        pass


def test_a_folder_has_one_writer(tmp_path):
    with pytest.raises(ValueError), sole_writer(tmp_path / "out"):
        with sole_writer(tmp_path / "out"):  # one process may claim it twice
            pass
        assert in_another_process(lambda: claim(tmp_path / "out")) == 1
        assert in_another_process(lambda: claim(tmp_path / "other")) == 0
        raise ValueError  # a claim ends with an error, too
    assert in_another_process(lambda: claim(tmp_path / "out")) == 0
    assert names(tmp_path / "out") == []


def test_a_process_that_was_forked_off_holds_no_claim(tmp_path):
    """Such as one that draws captchas beside a training: it may outlive the training for seconds."""
    ready, go = os.pipe()
    with sole_writer(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(ready, 1)  # waits until the other end is closed
            os._exit(0)
    assert in_another_process(lambda: claim(tmp_path)) == 0
    os.close(go)
    os.waitpid(child, 0)


def test_a_file_has_one_writer(tmp_path):
    with replacing(tmp_path / "text.txt") as part:
        part.write_text("first")
        assert in_another_process(lambda: write_text(tmp_path / "text.txt", "second")) == 1
    assert (tmp_path / "text.txt").read_text() == "first"
