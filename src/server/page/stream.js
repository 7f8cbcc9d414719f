// Server-sent events of a response, as the objects that their JSON means.

function* takeEvents(text) {
  for (const event of text.split('\n\n')) {
    const data = event.split('\n').filter((line) => line.startsWith('data:'))
      .map((line) => line.slice(5).trimStart()).join('\n');
    if (data && data !== '[DONE]') yield JSON.parse(data);
  }
}

export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';

  for (;;) {
    const { value, done } = await reader.read().catch(() => {
      throw new Error('The connection ended before the reply did.');
    });

    if (done) break;
    text += value.replaceAll('\r', '');
    const end = text.lastIndexOf('\n\n');
    if (end < 0) continue;
    yield* takeEvents(text.slice(0, end));
    text = text.slice(end + 2);
  }
}
