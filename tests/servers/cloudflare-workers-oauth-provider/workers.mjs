// Stands in for what Cloudflare's runtime gives: the module `cloudflare:workers`, of which the package takes one class.
import { register } from 'node:module';

const text = (source) => `data:text/javascript,${encodeURIComponent(source)}`;
const classes = text('export class WorkerEntrypoint {}');

register(text(`
  export const resolve = (name, context, next) => name === 'cloudflare:workers'
    ? { url: ${JSON.stringify(classes)}, shortCircuit: true }
    : next(name, context);
`));
