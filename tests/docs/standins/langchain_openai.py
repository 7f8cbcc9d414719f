"""Stands in for the package langchain-openai: the one call that doc/server.md makes."""
from openai import OpenAI


class ChatOpenAI:
    def __init__(self, *, base_url, api_key, **body):
        self.client, self.body = OpenAI(base_url=base_url, api_key=api_key), body

    def invoke(self, text):
        reply = self.client.chat.completions.create(
            messages=[{'role': 'user', 'content': text}], **self.body)
        return reply.choices[0].message
