import pickle
from dataclasses import FrozenInstanceError

import pytest

from dicomweb.config import GROUPS, IN_FILES, Config, is_loopback, settings, write_table
from dicomweb.errors import BadSetting
from dicomweb.settings import GIB


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_without_any_word_it_listens_on_loopback_and_keeps_files_under_data(tmp_path):
    config = Config.read({})
    assert (config.http_host, config.http_port) == ("127.0.0.1", 8080)
    assert config.data == tmp_path / "data"
    assert config.storage == f"file:{tmp_path}/data/files"
    assert config.index == f"sqlite:{tmp_path}/data/index.sqlite"
    assert config.scratch == tmp_path / "data" / "scratch"
    config.check_exposure()


def test_command_line_wins_over_environment_wins_over_file_wins_over_default(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text("http_port = 1\nlimit_parts = 1\nlimit_items = 1\n")
    environ = {"ROENTGATE_HTTP_PORT": "2", "ROENTGATE_LIMIT_PARTS": "2"}
    config = Config.read(environ, file, {"http_port": 3, "aet": None})
    assert (config.http_port, config.limit_parts, config.limit_items, config.aet) == (3, 2, 1, "ROENTGATE")
    assert config.origins == {
        "http_port": "command line",
        "limit_parts": "ROENTGATE_LIMIT_PARTS",
        "limit_items": str(file),
    }


def test_the_file_in_the_current_folder_is_read_unless_another_one_is_named(tmp_path):
    (tmp_path / "roentgate.toml").write_text("http_port = 1\n")
    (tmp_path / "other.toml").write_text("http_port = 2\n")
    assert Config.read({}).http_port == 1
    assert Config.read({"ROENTGATE_CONFIG": "other.toml"}).http_port == 2
    with pytest.raises(BadSetting, match=r"gone\.toml cannot be read"):
        Config.read({"ROENTGATE_CONFIG": "gone.toml"})


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"ROENTGATE_HTTP_PROT": "1"}, "ROENTGATE_HTTP_PROT.*did you mean ROENTGATE_HTTP_PORT"),
        ({"ROENTGATE_http_port": "1"}, "ROENTGATE_http_port.*did you mean ROENTGATE_HTTP_PORT"),
        ({"ROENTGATE_PORT_8080_TCP": "x"}, "ROENTGATE_PORT_8080_TCP, which is no setting"),
        ({"ROENTGATE_ZZZZZZ": "1"}, "ROENTGATE_ZZZZZZ, which is no setting; `roentgate config` lists"),
    ],
)
def test_an_unknown_name_in_the_environment_stops_the_start_and_the_nearest_is_named(environ, sentence):
    with pytest.raises(BadSetting, match=sentence):
        Config.read(environ)


def test_an_unknown_name_in_the_file_stops_the_start_too(tmp_path):
    (tmp_path / "roentgate.toml").write_text('storge = "memory:"\n')
    with pytest.raises(BadSetting, match=r"roentgate\.toml has storge.*did you mean storage"):
        Config.read({})


def test_names_of_the_tests_and_of_other_programs_are_passed_over():
    assert Config.read({"ROENTGATE_TEST_S3": "x", "PATH": "/bin", "roentgate_http_port": "1"}).http_port == 8080


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 1 << 20), ("8 GiB", 8 * GIB), ("2MB", 2_000_000), ("16k", 16384), ("1_000", 1000)],
)
def test_a_size_may_carry_a_unit(text, size):
    assert Config.read({"ROENTGATE_LIMIT_REQUEST_BYTES": text}).limit_request_bytes == size


def test_lists_are_words_in_the_environment_and_arrays_in_the_file(tmp_path):
    text = "10.0.0.0/8, 127.0.0.1"
    assert Config.read({"ROENTGATE_TRUSTED_PROXIES": text}).trusted_proxies == ("10.0.0.0/8", "127.0.0.1")
    (tmp_path / "roentgate.toml").write_text('cors_origins = ["https://a.example", "*"]\ninsecure = true\n')
    config = Config.read({})
    assert (config.cors_origins, config.insecure) == (("https://a.example", "*"), True)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"HTTP_PORT": "eighty"}, "ROENTGATE_HTTP_PORT should be a whole number, and 'eighty' is not"),
        ({"HTTP_PORT": "70000"}, "http_port is 70000; the most is 65535"),
        ({"LIMIT_REQUEST_BYTES": "8 parsecs"}, "a size such as"),
        ({"INSECURE": "perhaps"}, "true or false"),
        ({"ON_CONFLICT": "merge"}, "on_conflict is merge; it can be refuse or keep or replace"),
        ({"EMPTY_SEARCH_STATUS": "404"}, "it can be 200 or 204"),
        ({"PUBLIC_URL": "pacs.example"}, "public_url is 'pacs.example'"),
        ({"TRUSTED_PROXIES": "proxy.local"}, "trusted_proxies holds 'proxy.local'"),
        ({"CORS_ORIGINS": "https://a.example/path"}, "cors_origins holds"),
        ({"TLS_CERT": "cert.pem"}, "tls_cert and tls_key go together"),
        ({"TLS_CLIENT_CA": "ca.pem"}, "needs tls_cert"),
        ({"WORKERS": "2", "STORAGE": "memory:"}, "workers must be 1"),
        ({"SEARCH_PAGE": "20000"}, "search_page is larger"),
        ({"UNKNOWN_AETS": "echo+fly"}, "unknown_aets is 'echo\\+fly'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_by_the_name_of_its_setting(environ, sentence):
    with pytest.raises(BadSetting, match=sentence):
        Config.read({f"ROENTGATE_{name}": text for name, text in environ.items()})


def test_a_file_that_is_no_toml_or_holds_another_type_is_told(tmp_path):
    file = tmp_path / "roentgate.toml"
    file.write_text("http_port = \n")
    with pytest.raises(BadSetting, match="is not TOML"):
        Config.read({})
    file.write_text("http_port = true\n")
    with pytest.raises(BadSetting, match=r"http_port in roentgate\.toml should be a whole number"):
        Config.read({})
    file.write_text("storage = 7\n")
    with pytest.raises(BadSetting, match=r"storage in roentgate\.toml should be text"):
        Config.read({})


def test_an_address_that_others_reach_needs_access_control_or_an_explicit_word():
    open_to_all = Config.read({"ROENTGATE_HTTP_HOST": "0.0.0.0"})
    with pytest.raises(BadSetting, match=r"http_host is 0\.0\.0\.0.*--insecure"):
        open_to_all.check_exposure()
    Config(http_host="0.0.0.0", insecure=True).check_exposure()
    Config(http_host="0.0.0.0", tls_cert="c", tls_key="k", tls_client_ca="a").check_exposure()
    with pytest.raises(BadSetting):
        Config(http_host="0.0.0.0", tls_cert="c", tls_key="k").check_exposure()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "pacs.example", ""])
def test_other_addresses_and_names_count_as_reachable(host):
    assert not is_loopback(host)


def test_secrets_and_passwords_in_urls_are_never_shown():
    environ = {
        "ROENTGATE_BRIDGE_TOKEN": "hunter2",
        "ROENTGATE_INDEX": "postgresql://me:hunter2@db.example/pacs?sslmode=require&password=hunter2",
    }
    config = Config.read(environ)
    shown = {spec.name: text for spec, text, _ in config.shown()}
    assert shown["bridge_token"] == "***"
    assert shown["index"] == "postgresql://me:***@db.example/pacs?sslmode=require&password=***"
    assert "hunter2" not in repr(config)
    assert config.bridge_token == "hunter2"


@pytest.mark.parametrize("name", IN_FILES)
def test_a_secret_may_lie_in_a_file_of_its_own(tmp_path, name):
    file = tmp_path / "secret"
    file.write_text("http://user:hunter2@host/x\n")
    config = Config.read({f"ROENTGATE_{name.upper()}_FILE": str(file)})
    assert getattr(config, name) == "http://user:hunter2@host/x"
    assert config.files == {name: file}
    assert config.origins[name] == f"ROENTGATE_{name.upper()}_FILE"
    assert "hunter2" not in repr(config)


def test_every_secret_may_lie_in_a_file():
    assert {spec.name for spec in settings() if spec.secret} <= set(IN_FILES)


def test_a_file_of_a_secret_that_cannot_be_used_is_told_and_never_shown(tmp_path):
    file = tmp_path / "secret"
    with pytest.raises(BadSetting, match=r"ROENTGATE_BRIDGE_TOKEN_FILE names .*secret, which cannot be read: No such"):
        Config.read({"ROENTGATE_BRIDGE_TOKEN_FILE": str(file)})
    file.write_text("\n")
    with pytest.raises(BadSetting, match="in which nothing is"):
        Config.read({"ROENTGATE_BRIDGE_TOKEN_FILE": str(file)})
    file.write_text("hunter2")
    with pytest.raises(BadSetting, match="both ROENTGATE_BRIDGE_TOKEN and ROENTGATE_BRIDGE_TOKEN_FILE") as caught:
        Config.read({"ROENTGATE_BRIDGE_TOKEN_FILE": str(file), "ROENTGATE_BRIDGE_TOKEN": "hunter3"})
    assert "hunter" not in str(caught.value)


def test_only_secrets_lie_in_files(tmp_path):
    with pytest.raises(BadSetting, match="ROENTGATE_TLS_CERT_FILE, which is no setting"):
        Config.read({"ROENTGATE_TLS_CERT_FILE": str(tmp_path / "cert")})


def test_a_changed_index_is_read_again_and_one_that_is_away_stays(tmp_path):
    file = tmp_path / "uri"
    file.write_text("postgresql://a:one@host/db")
    config = Config.read({"ROENTGATE_INDEX_FILE": str(file)})
    file.write_text("postgresql://a:two@host/db")
    assert (config.index, config.index_now()) == ("postgresql://a:one@host/db", "postgresql://a:two@host/db")
    file.unlink()
    assert config.index_now() == config.index
    assert Config(index="sqlite:/x").index_now() == "sqlite:/x"


def test_a_secret_is_not_repeated_when_it_does_not_fit(tmp_path):
    (tmp_path / "roentgate.toml").write_text("bridge_token = 123456\n")
    with pytest.raises(BadSetting) as caught:
        Config.read({})
    assert "123456" not in str(caught.value)


def test_a_file_that_others_can_read_is_noticed_when_it_holds_a_secret(tmp_path):
    file = tmp_path / "roentgate.toml"
    file.write_text('bridge_token = "hunter2"\n')
    file.chmod(0o644)
    assert "bridge_token" in Config.read({}).notices[0]
    file.chmod(0o600)
    assert Config.read({}).notices == ()


@pytest.mark.parametrize(
    ("cores", "platform", "index", "storage", "workers"),
    [
        (8, "linux", "postgresql://db/pacs", "s3://bucket", 4),
        (8, "linux", "sqlite:/x", "", 2),
        (8, "darwin", "sqlite:/x", "", 1),
        (1, "linux", "sqlite:/x", "", 1),
        (8, "linux", "sqlite::memory:", "", 1),
        (8, "linux", "postgresql://db/pacs", "memory:", 1),
    ],
)
def test_workers_follow_the_cores_and_the_index(cores, platform, index, storage, workers, monkeypatch):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert Config(index=index, storage=storage).workers == workers


def test_unknown_aets_follow_the_address():
    assert Config().unknown_aets == "everything"
    assert Config(dimse_host="0.0.0.0").unknown_aets == "refuse"


def test_slashes_around_prefix_and_public_url_do_not_matter():
    config = Config(path_prefix="pacs/", public_url="https://pacs.example/x/")
    assert (config.path_prefix, config.public_url) == ("/pacs", "https://pacs.example/x")
    assert config.local_url(9) == "http://127.0.0.1:9/pacs"
    assert Config(http_host="::").local_url() == "http://[::1]:8080"


def test_it_never_changes_and_goes_to_another_process_whole(tmp_path):
    config = Config.read({"ROENTGATE_HTTP_PORT": "9"})
    with pytest.raises(FrozenInstanceError):
        config.http_port = 10
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    assert copy.origins == config.origins


def test_every_setting_is_described_in_a_group_and_stands_in_the_table():
    table = write_table()
    for spec in settings():
        assert spec.group in GROUPS
        assert f"| `{spec.name}` | {spec.default_text} | {spec.doc} |" in table
        assert spec.doc
