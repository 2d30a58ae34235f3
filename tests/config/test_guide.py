"""The YAML of the guides works as it is printed."""

GUIDE = """\
# multi-instance.yaml
instances:
  - id: sentiment-analyzer
    name: "Sentiment Analysis"
    port: 8001
    indexer_type: VI
    max_predictions: 50
    
  - id: pattern-matcher
    name: "Pattern Matching"
    port: 8002
    indexer_type: VI
    max_predictions: 100
"""  # noqa: W293 - as printed

UPSTREAM = """\
instances:
  - id: processor-1
    name: "Main"
    port: 8001
    zmq_port: 5556
    classifier: CVC
    max_predictions: 100
    recall_threshold: 0.1
    max_sequence_length: 20

shared:
  log_level: DEBUG
  mongo_url: mongodb://mongo-kb:27017
  docker_network: kato-network
"""


def test_the_guides_file_describes_two_processors(read):
    first, second = read(GUIDE).specs

    assert (first.id, first.name, first.port) == ("sentiment-analyzer", "Sentiment Analysis", 8001)
    assert first.settings["max_predictions"] == 50
    assert first.launch.environment["MAX_PREDICTIONS"] == "50"
    assert (second.id, second.name, second.port) == ("pattern-matcher", "Pattern Matching", 8002)
    assert second.settings["max_predictions"] == 100
    assert second.settings["indexer_type"] == "VI"


def test_what_the_guide_leaves_out_has_the_guides_defaults(read):
    (spec,) = read("instances: [{id: a}]").specs

    expected = {
        "indexer_type": "VI",
        "max_predictions": 100,
        "recall_threshold": 0.1,
        "max_pattern_length": 0,
        "persistence": 5,
        "quiescence": 3,
    }
    assert {key: spec.settings[key] for key in expected} == expected
    assert spec.name == "KatoProcessor"
    assert spec.port is None


def test_quiescence_is_kept_and_has_no_effect(read):
    (spec,) = read("instances: [{id: a, quiescence: 7}]").specs

    assert spec.settings["quiescence"] == 7
    assert "QUIESCENCE" not in spec.launch.environment


def test_the_older_form_works_and_says_what_it_ignores(read):
    document = read(UPSTREAM)

    (spec,) = document.specs
    assert spec.settings["max_pattern_length"] == 20
    assert spec.settings["log_level"] == "DEBUG"
    assert spec.launch.environment["LOG_LEVEL"] == "DEBUG"
    assert [str(warning) for warning in document.warnings] == [
        (
            "multi.yaml:13:3: shared.mongo_url: ignored:"
            " patterns are kept in the instance's own data folder"
        ),
        "multi.yaml:14:3: shared.docker_network: ignored: instances share kato-network",
        "multi.yaml:5:5: instances[0].zmq_port: ignored: an instance has one port, for HTTP",
        (
            "multi.yaml:6:5: instances[0].classifier: ignored:"
            " the classifier of old KATO versions is gone"
        ),
    ]
