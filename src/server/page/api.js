// Requests to this server. What goes wrong is an ApiError with the server's own words.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: the server could not be reached
  }
}

// The words of an error's body, whichever API's form it has.
function wordsOf(text, status) {
  try {
    const body = JSON.parse(text);
    const words = body.error?.message ?? body.error ?? body.message;
    if (typeof words === 'string') return words;
  } catch {
    // no JSON: as it is
  }
  return text.trim() || `The server answered ${status}.`;
}

// A good answer, its body still to be read.
export async function request(path, { key, body, signal } = {}) {
  const headers = {};
  let response;

  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers['Content-Type'] = 'application/json';
  try {
    response = await fetch(path, {
      method: body ? 'POST' : 'GET',
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: 'no-store',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError('The server cannot be reached.', 0);
  }
  if (!response.ok) throw new ApiError(wordsOf(await response.text(), response.status),
                                       response.status);
  return response;
}

export async function getJson(path, options) {
  return (await request(path, options)).json();
}
