from __future__ import annotations

import pytest

from tests.web.server import HOST, TOKEN, client_of, settings_of

FOREIGN = ("evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:1", "[", "localhost@evil.example")


@pytest.fixture(scope="module")
def client():
    with client_of(settings_of("testimgs"), signed_in=False) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "x", "t%c3ken"])
def test_without_the_token_nothing_is_answered_but_why(client, given):
    for where in ("/", "/api/studies", "/static/vendor/README.md", "/api/openapi.json"):
        answer = client.get(where, headers=bearer(given))
        assert answer.status_code == 401
        assert answer.json()["error"].startswith("no token, or a wrong one")


def test_the_token_of_the_address_goes_into_a_cookie_that_scripts_and_other_sites_do_not_have(client):
    answer = client.get("/", params={"token": TOKEN, "panel": "about"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?panel=about")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert client.get("/api/studies").status_code == 200  # the client has the cookie now
    client.cookies.clear()
    assert client.get("/", params={"token": "wrong"}, follow_redirects=False).status_code == 401


@pytest.mark.parametrize("host", FOREIGN)
def test_under_a_foreign_name_nothing_is_answered_even_with_the_token(client, host):
    answer = client.get("/api/studies", headers={**bearer(TOKEN), "Host": host})
    assert answer.status_code == 421 if host != "127.0.0.1:1" else answer.status_code in (200, 421)


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"},
                {"Origin": "null"}, {"Origin": f"http://{HOST}:1"}]
)  # fmt: skip
def test_a_request_of_another_site_is_refused_even_with_the_token(client, headers):
    for method in ("POST", "GET"):
        assert client.request(method, "/api/studies", headers={**bearer(TOKEN), **headers}).status_code == 403


def test_a_request_of_the_page_itself_is_none_of_another_site(client):
    own = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HOST}", **bearer(TOKEN)}
    assert client.get("/api/studies", headers=own).status_code == 200
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site", **bearer(TOKEN)}).status_code == 200
