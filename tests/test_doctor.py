"""The doctor: each check by itself, so that one failure hides no other."""

import hashlib

import psutil
import pytest
from conftest import needs
from packaging.requirements import Requirement

from favor_mini.apps import doctor
from favor_mini.apps.doctor import Finding


def test_a_failing_check_hides_none_of_the_others(monkeypatch, capsys):
    def broken():
        raise ImportError("libfoo.so: cannot open\nshared object")

    found = [("first", lambda: Finding("OK", "fine")), ("second", broken),
             ("third", lambda: Finding("WARN", "so so", "do this")),
             ("fourth", lambda: Finding("OK", "fine too", "never shown"))]
    monkeypatch.setattr(doctor, "checks", lambda *_: found)
    assert doctor.examine() == 1
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("[")] == [
        ["[OK]", "first"], ["[FAIL]", "second"], ["[WARN]", "third"], ["[OK]", "fourth"]]
    assert "ImportError: libfoo.so: cannot open shared object" in out and "-> do this" in out
    assert "never shown" not in out and out.splitlines()[-1].startswith("1 of the checks failed")


def test_warnings_alone_are_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "checks", lambda *_: [("a", lambda: Finding("WARN", "hm", "mend"))])
    assert doctor.examine() == 0


def test_every_check_is_listed():
    names = [name for name, _ in doctor.checks()]
    assert {"python", "torch", "transformers", "av", "codec PyAV", "codec decord", "device",
            "threads", "checkpoint",
            "data_samples", "memory", "disk"} <= set(names)
    assert ("decord" in names) != ("decord2" in names)  # by the platform's marker
    assert "codec PyAV" not in [name for name, _ in doctor.checks(quick=True)]


@pytest.mark.parametrize("wanted, status, text", [
    ("numpy>=2.0", "OK", "."), ("numpy>=999", "FAIL", ">=999"),
    ("no-such-library>=1", "FAIL", "not installed")])
def test_libraries(wanted, status, text):
    finding = doctor.check_library(Requirement(wanted))
    assert finding.status == status and text in finding.text


def test_every_library_that_the_project_needs_is_found_by_its_module():
    found = {wanted.name: doctor.attempt(lambda wanted=wanted: doctor.check_library(wanted))
             for wanted in doctor.requirements()}
    assert len(found) > 15
    assert {name: finding for name, finding in found.items() if finding.status != "OK"} == {}


def test_a_library_that_will_not_import_fails(monkeypatch):
    def refuse(name):
        raise OSError(f"{name}: undefined symbol")

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    finding = doctor.attempt(lambda: doctor.check_library(Requirement("numpy")))
    assert finding.status == "FAIL" and "undefined symbol" in finding.text and finding.fix


def test_tested_versions_come_from_the_lock(tmp_path, monkeypatch):
    (tmp_path / "requirements.lock").write_text(
        "torchvision==1.0\nTorch==2.13.0 ; python_version > '3'\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert doctor.tested_version("torch") == "2.13.0" and doctor.tested_version("numpy") is None


def test_codec_there_and_back():
    assert doctor.check_codec("PyAV").status == "OK"


@needs("signals")
def test_a_codec_that_crashes_is_a_finding(monkeypatch):
    monkeypatch.setitem(doctor._READ, "PyAV", "import os; os.abort()")
    finding = doctor.check_codec("PyAV")
    assert finding.status == "FAIL" and "signal 6" in finding.text and "pip install" in finding.fix


def test_threads_policy_is_the_callers_own(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it for itself
    assert doctor.check_threads(None).status == "WARN"
    assert doctor.check_threads("passive").status == "OK"


def test_checkpoint_missing(tmp_path):
    finding = doctor.check_checkpoint(tmp_path)
    assert finding.status == "FAIL" and str(tmp_path) in finding.text
    assert "save_pretrained" in finding.fix


@pytest.mark.slow
def test_checkpoint_that_does_not_load(tmp_path, monkeypatch):
    for name in ("config.json", "model.safetensors", "favor_processor.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"")
    monkeypatch.setenv("FAVOR_MINI_DATA", str(tmp_path))
    finding = doctor.check_checkpoint(tmp_path)
    assert finding.status == "FAIL" and "does not answer" in finding.text


def test_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("FAVOR_MINI_DATA", str(tmp_path))
    assert "SHA256SUMS is missing" in doctor.check_samples().text
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a b.mp4").write_bytes(b"film")
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(b'film').hexdigest()}  clips/a b.mp4\n")
    assert doctor.check_samples().status == "OK"
    (tmp_path / "clips" / "a b.mp4").write_bytes(b"another")
    finding = doctor.check_samples()
    assert finding.status == "FAIL" and "clips/a b.mp4 has changed" in finding.text
    monkeypatch.setenv("FAVOR_MINI_DATA", str(tmp_path / "nowhere"))
    assert "FAVOR_MINI_DATA" in doctor.check_samples().fix


def test_little_memory_and_disk_warn(monkeypatch):
    memory = psutil.virtual_memory()._replace(available=3 * 2**29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert doctor.check_memory() == Finding("WARN", "1.5 GiB free",
                                            "fine-tuning needs about 4 GiB: close other programs")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**30})())
    assert doctor.check_disk().status == "WARN"


def test_device_names_the_processor_and_its_precision():
    finding = doctor.check_device()
    assert finding.status == "OK" and "bfloat16" in finding.text
    assert "cpu" in finding.text or "cuda" in finding.text
