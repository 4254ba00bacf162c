// Shows the OpenAPI document. The script is a file because the content security policy forbids inline scripts.

const spec = await (await fetch("openapi.json")).json();
// Requests go to the service at this address, also when a proxy serves it below a path that the service does not know.
spec.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];

SwaggerUIBundle({
  spec,
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
