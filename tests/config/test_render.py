"""`kato config` prints what the file means, and where each value came from."""

from kato_manager.config import render

TEXT = """\
shared: {log_level: DEBUG, env: {A: "$$x: no"}}
instances:
  - id: no
    name: "Two words"
    image: mine:1
    max_predictions: 7
    depends_on: [b]
    filter_pipeline: [minhash]
    limits: {memory: 512m}
  - {id: b, grace: 1m, labels: {"a b": "yes"}}
"""


def test_what_is_printed_means_the_same(read):
    document = read(TEXT)

    printed = "\n".join(render.to_text(document, show_origin=True)) + "\n"

    assert read(printed).specs == document.specs


def test_each_value_says_where_it_came_from(read):
    lines = list(render.to_text(read(TEXT), show_origin=True))

    assert lines[:4] == [
        "instances:",
        '  - id: "no"  # multi.yaml:3:9',
        '    name: "Two words"  # multi.yaml:4:11',
        "    template: kato  # default",
    ]
    assert "      max_predictions: 7  # multi.yaml:6:22" in lines
    assert "      log_level: DEBUG  # multi.yaml:1:21" in lines
    assert "      persistence: 5  # template kato" in lines
    assert '      A: "$$x: no"  # multi.yaml:1:37' in lines
    assert "    image: mine:1  # multi.yaml:5:12" not in lines  # a colon needs quotes
    assert '    image: "mine:1"  # multi.yaml:5:12' in lines


def test_the_command_prints_yaml_json_or_nothing(home, tmp_path):
    file = tmp_path / "multi.yaml"
    file.write_text(TEXT)

    text = home.kato("config", "-f", str(file))
    data = home.kato("config", "-f", str(file), "--format", "json", "--show-origin")
    quiet = home.kato("config", "-f", str(file), "--quiet")

    assert (text.code, text.out.splitlines()[1]) == (0, '  - id: "no"')
    entry = data.json["instances"][0]
    assert entry["settings"]["max_predictions"] == 7
    assert entry["origin"]["settings.max_predictions"] == f"{file}:6:22"
    assert (quiet.code, quiet.out) == (0, "")


def test_standard_input_is_a_file_too(home):
    done = home.kato("config", "-f", "-", stdin="instances: [{id: a, prot: 1}]")

    assert done.code == 2
    assert 'stdin:1:21: instances[0].prot: unknown setting, did you mean "port"?' in done.err


def test_without_a_file_the_one_here_is_taken_or_asked_for(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = home.kato("config")
    (tmp_path / "kato.yaml").write_text("instances: [{id: a}]")
    found = home.kato("config")

    assert missing.code == 2
    assert "there is no kato.yaml here" in missing.err
    assert found.out.splitlines()[1] == "  - id: a"
