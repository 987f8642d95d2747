"""Redirects, web pages in place of files, and Google Drive's pages; loopback servers only."""

import pytest
import requests

from tests.workflow.toy_assets import (
    CONTENT,
    HALF,
    PAGE,
    PATIENCE,
    fetch,
    names,
    page,
    redirect,
    status,
    thing,
    unknown,
    whole,
)

# ---- redirects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site, tmp_path, code):
    site.routes |= {"/a": [redirect("/b?x=1", code)], "/b": [whole()]}
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.paths() == ["/a", "/b?x=1"]


@pytest.mark.parametrize("target", ["http://[::1", "http://127.0.0.1/\xff", "//[x"])
def test_a_redirect_to_an_invalid_address_is_reported_in_one_sentence(site, tmp_path, target):
    site.routes |= {"/a": [redirect(target)], "/good": [whole()]}
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "redirects to an invalid address; get it by hand" in sentence
    assert fetch(tmp_path, thing(f"{site.url}/a", f"{site.url}/good")) == []


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,abc"])
def test_a_redirect_to_another_scheme_is_refused(site, tmp_path, target):
    site.routes["/a"] = [redirect(target)]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert (
        f"redirects to {target}, which is not a web address" in sentence and names(tmp_path) == []
    )


def test_the_number_of_redirects_is_limited(site, tmp_path):
    site.routes["/a"] = [redirect("/a")]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "redirects more than 3 times" in sentence and len(site.seen) == PATIENCE.hops + 1


def test_a_redirect_from_https_to_http_is_refused(site, tmp_path):
    class Secure(requests.adapters.HTTPAdapter):
        """Stands for TLS: the loopback server answers for https://secure.test."""

        def send(self, request, **options):
            request.url = request.url.replace("https://secure.test", site.url)
            return super().send(request, **options)

    session = requests.Session()
    session.mount("https://", Secure())
    site.routes |= {"/a": [redirect(f"{site.url}/b")], "/b": [whole()], "/c": [redirect("/b")]}
    (sentence,) = fetch(tmp_path, thing("https://secure.test/a"), session=session)
    assert f"redirects from https to {site.url}/b" in sentence and site.paths() == ["/a"]
    assert fetch(tmp_path, thing("https://secure.test/c"), session=session) == []


# ---- web pages in place of files ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_refused_whatever_its_content_type(site, tmp_path, kind):
    site.routes["/a"] = [status(200, PAGE, Content_Type=kind, Content_Length=len(PAGE))]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "answers with a web page instead of the file" in sentence and names(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"\xef\xbb\xbf\n<!-- saved from elsewhere --><html></html>",
        b'{"error": "not found"}',
        b"<head><title>Sign in</title></head>",
    ],
)
def test_an_answer_in_html_xml_or_json_is_refused(site, tmp_path, words):
    site.routes["/a"] = [status(200, words, Content_Length=len(words))]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "answers with a web page instead of the file" in sentence and names(tmp_path) == []


FORM = (
    '<!DOCTYPE html><html><form action="/search"><input name="q" value="no"></form>'
    '<form id="download-form" action="{action}" method="get">'
    '<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t&amp;1">'
    '<input type="submit" value="Download anyway"></form></html>'
)
LINK = '<html><a href="/help">?</a><a href="/download?id=abc&amp;confirm=t%261">Download</a></html>'


@pytest.mark.parametrize("form", [FORM.format(action="/download"), LINK], ids=["form", "link"])
def test_google_drives_confirmation_page_is_followed(site, tmp_path, form):
    site.routes |= {"/uc": [page(form.encode())], "/download": [whole()]}
    assert fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc") == []
    assert site.paths() == ["/uc?id=abc&export=download", "/download?id=abc&confirm=t%261"]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_google_drives_confirmation_page_is_followed_only_once(site, tmp_path):
    form = FORM.format(action="/download").encode()
    site.routes |= {"/uc": [page(form)], "/download": [page(form)]}
    (sentence,) = fetch(tmp_path, thing("gd:abc", page=None), drive=f"{site.url}/uc")
    assert "gd:abc answers with a web page instead of the file" in sentence
    assert "get it by hand from https://drive.google.com/file/d/abc/view, put it at" in sentence
    assert len(site.seen) == 2


def test_a_download_from_google_drive_can_be_resumed(site, tmp_path):
    site.routes["/uc"] = [page(FORM.format(action="/download").encode())]
    site.routes["/download"] = [whole(stop=HALF), whole()]
    assert fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc") == []
    assert site.ranges()[-1] == f"bytes={HALF}-"


def test_a_small_file_of_google_drive_needs_no_confirmation(site, tmp_path):
    site.routes["/uc"] = [whole()]
    assert fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc") == []


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "after the confirmation"])
@pytest.mark.parametrize("code", [200, 403])
def test_google_drives_quota_is_reported(site, tmp_path, behind, code):
    quota = page(b"<html><title>Google Drive - Quota exceeded</title></html>", code)
    form = page(FORM.format(action="/download").encode())
    site.routes |= {"/uc": [form if behind else quota], "/download": [quota]}
    (sentence,) = fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc")
    assert "gd:abc has been fetched too often: Google Drive's quota is used up" in sentence


@pytest.mark.parametrize(
    "text", ["<html><![endif]--><![x", "<html><form action='http://[::1/download'>"]
)
def test_a_malformed_page_of_google_drive_is_reported_in_one_sentence(site, tmp_path, text):
    site.routes["/uc"] = [page(text.encode())]
    (sentence,) = fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc")
    assert sentence.startswith("thing: gd:abc ") and "; get it by hand from" in sentence


@pytest.mark.parametrize(
    ("code", "words"), [(200, "answers with a web page"), (404, "answered 404")]
)
def test_another_page_of_google_drive_is_refused(site, tmp_path, code, words):
    site.routes["/uc"] = [page(PAGE, code)]
    (sentence,) = fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc")
    assert f"gd:abc {words}" in sentence
