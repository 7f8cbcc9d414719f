"""Stands in for the package openai, which Debian does not have: the few calls that doc/server.md
makes, sent to the server as that package sends them."""
import json
import types
import urllib.request


def objects(value):
    if isinstance(value, dict):
        return types.SimpleNamespace(**{key: objects(inner) for key, inner in value.items()})
    return [objects(inner) for inner in value] if isinstance(value, list) else value


class Completions:
    def __init__(self, base_url, api_key):
        self.base_url, self.api_key = base_url, api_key

    def create(self, **body):
        request = urllib.request.Request(
            self.base_url.rstrip('/') + '/chat/completions', json.dumps(body).encode(),
            {'Authorization': f'Bearer {self.api_key}', 'Content-Type': 'application/json'})
        with urllib.request.urlopen(request) as reply:
            return objects(json.load(reply))


class OpenAI:
    def __init__(self, *, base_url, api_key):
        self.chat = types.SimpleNamespace(completions=Completions(base_url, api_key))
