// A KV namespace of Workers, as a Map.

export const namespaceOf = (stored) => ({
  async get(key, options) {
    const value = stored.get(key);
    return value === undefined ? null : (options?.type ?? options) === 'json' ? JSON.parse(value) : value;
  },
  async put(key, value) { stored.set(key, value); },
  async delete(key) { stored.delete(key); },
  async list({ prefix = '' } = {}) {
    const keys = [...stored.keys()].filter((key) => key.startsWith(prefix)).map((name) => ({ name }));
    return { keys, list_complete: true };
  },
});
