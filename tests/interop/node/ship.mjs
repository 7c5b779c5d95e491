// A Node process that ships a span and a log record with the stock OpenTelemetry SDK: node ship.mjs HOST:PORT SERVICE.
// Its trace id goes to stdout once all is shipped.
import { SpanKind, SpanStatusCode, context, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const [address, service] = process.argv.slice(2);
const url = `http://${address}`;
const names = { 'service.name': service, 'service.instance.id': 'node-1' };
const resource = defaultResource().merge(resourceFromAttributes(names));
const tracers = new NodeTracerProvider({
  resource,
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url }))],
});
tracers.register();
const loggers = new LoggerProvider({
  resource,
  processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter({ url, compression: 'gzip' }) })],
});

const span = trace.getTracer('ship', '1.2.3').startSpan('deliver', {
  kind: SpanKind.PRODUCER,
  attributes: { 'parcel.id': 7 },
});
context.with(trace.setSpan(context.active(), span), () => {
  loggers.getLogger('ship').emit({
    severityNumber: SeverityNumber.ERROR,
    severityText: 'ERROR',
    body: 'parcel lost',
    attributes: { 'parcel.id': 7 },
  });
});
span.setStatus({ code: SpanStatusCode.ERROR, message: 'lost' });
span.end();
await tracers.shutdown();
await loggers.shutdown();
console.log(span.spanContext().traceId);
