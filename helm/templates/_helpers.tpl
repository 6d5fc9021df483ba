{{- define "roentgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "roentgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "roentgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "roentgate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "roentgate.selector" -}}
app.kubernetes.io/name: {{ include "roentgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "roentgate.labels" -}}
{{ include "roentgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "roentgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "roentgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "roentgate.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* What clients call us. */}}
{{- define "roentgate.publicUrl" -}}
{{- if .Values.settings.public_url -}}
{{- .Values.settings.public_url -}}
{{- else if .Values.web.ingress.enabled -}}
{{- printf "%s://%s" (ternary "https" "http" (ne .Values.web.ingress.tlsSecret "")) .Values.web.ingress.host -}}
{{- else if .Values.web.httpRoute.enabled -}}
{{- printf "https://%s" (first .Values.web.httpRoute.hostnames) -}}
{{- else -}}
{{- printf "%s://%s-web.%s.svc:%d" (include "roentgate.scheme" .) (include "roentgate.fullname" .) .Release.Namespace (int .Values.web.service.port) -}}
{{- end -}}
{{- end -}}

{{- define "roentgate.scheme" -}}
{{- ternary "https" "http" .Values.web.tls.enabled -}}
{{- end -}}

{{/* The file of the authorities by which the DICOMweb server is known that bridge and `helm test` call. */}}
{{- define "roentgate.dicomwebCa" -}}
{{- if and .Values.web.enabled .Values.web.tls.enabled -}}
/secrets/web-ca/ca.crt
{{- else if and .Values.bridge.dicomweb (include "roentgate.trusted" .) -}}
/trust/ca.crt
{{- end -}}
{{- end -}}

{{- define "roentgate.webCaMount" -}}
{{- if and .Values.web.enabled .Values.web.tls.enabled }}
- { name: web-ca, mountPath: /secrets/web-ca, readOnly: true }
{{- end }}
{{- end -}}

{{- define "roentgate.webCaVolume" -}}
{{- if and .Values.web.enabled .Values.web.tls.enabled }}
- name: web-ca
  secret:
    secretName: {{ .Values.web.tls.existingSecret }}
    defaultMode: 0440
    items:
      - { key: ca.crt, path: ca.crt }
{{- end }}
{{- end -}}

{{/* The DICOMweb server that the bridge serves. */}}
{{- define "roentgate.dicomweb" -}}
{{- if .Values.bridge.dicomweb -}}
{{- .Values.bridge.dicomweb -}}
{{- else -}}
{{- printf "%s://%s-web:%d%s/dicom-web" (include "roentgate.scheme" .) (include "roentgate.fullname" .) (int .Values.web.service.port) (include "roentgate.prefix" .) -}}
{{- end -}}
{{- end -}}

{{- define "roentgate.prefix" -}}
{{- with .Values.settings.path_prefix }}/{{ trimAll "/" . }}{{ end -}}
{{- end -}}

{{/* nodes.toml. JSON's texts, numbers and lists of texts are TOML's. */}}
{{- define "roentgate.nodes" -}}
{{- range $node, $settings := .Values.nodes }}
[nodes.{{ $node | toJson }}]
{{- range $name, $value := $settings }}
{{ $name }} = {{ $value | toJson }}
{{- end }}
{{ end }}
{{- end -}}

{{/* All Services of DIMSE by the end of their names. */}}
{{- define "roentgate.dimse" -}}
{{- $found := list (merge (dict "name" "dimse") .Values.bridge.service) -}}
{{- range .Values.bridge.moreServices -}}
{{- $found = append $found (merge (dict "name" (printf "dimse-%s" .name)) .) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* A setting's value as the environment has it. Helm makes floating point numbers of what stands in files. */}}
{{- define "roentgate.text" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Authorities of its own, in all pods. */}}
{{- define "roentgate.trusted" -}}
{{- if or .Values.trust.configMap .Values.trust.existingSecret }}true{{ end -}}
{{- end -}}

{{- define "roentgate.trustMount" -}}
{{- if include "roentgate.trusted" . }}
- { name: trust, mountPath: /trust, readOnly: true }
{{- end }}
{{- end -}}

{{- define "roentgate.trustVolume" -}}
{{- if .Values.trust.configMap }}
- name: trust
  configMap:
    name: {{ .Values.trust.configMap }}
    items:
      - { key: {{ .Values.trust.key }}, path: ca.crt }
{{- else if .Values.trust.existingSecret }}
- name: trust
  secret:
    secretName: {{ .Values.trust.existingSecret }}
    defaultMode: 0440
    items:
      - { key: {{ .Values.trust.key }}, path: ca.crt }
{{- end }}
{{- end -}}

{{- define "roentgate.embedded" -}}
{{- if or (eq .Values.index.kind "sqlite") (eq .Values.storage.kind "file") }}true{{ end -}}
{{- end -}}

{{/* What cannot work together is refused, in a sentence. */}}
{{- define "roentgate.check" -}}
{{- $v := .Values -}}
{{- if not (or $v.web.enabled $v.bridge.enabled) -}}
{{- fail "web.enabled and bridge.enabled are both off: there is nothing to install." -}}
{{- end -}}
{{- if include "roentgate.embedded" . -}}
{{- if or (gt (int $v.web.replicas) 1) $v.web.autoscaling.enabled -}}
{{- fail "More than one web replica needs index.kind postgresql and storage.kind s3: SQLite and files serve one pod." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.index.kind "postgresql") (not $v.index.existingSecret) -}}
{{- fail "index.kind postgresql needs index.existingSecret, a Secret that holds the database's URL." -}}
{{- end -}}
{{- if gt (int $v.web.autoscaling.minReplicas) (int $v.web.autoscaling.maxReplicas) -}}
{{- fail "web.autoscaling.minReplicas is more than maxReplicas." -}}
{{- end -}}
{{- if and $v.trust.configMap $v.trust.existingSecret -}}
{{- fail "trust.configMap and trust.existingSecret both name authorities: keep one." -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.web.enabled (ne $v.auth.mode "none") (not $v.metrics.serviceMonitor.keySecret) -}}
{{- fail "metrics.serviceMonitor needs metrics.serviceMonitor.keySecret: with auth.mode keys or oidc nobody reads measures without a key." -}}
{{- end -}}
{{- if and $v.nodes $v.nodesSecret.existingSecret -}}
{{- fail "nodes and nodesSecret.existingSecret both say which nodes there are: keep one." -}}
{{- end -}}
{{- range $node, $settings := $v.nodes -}}
{{- range $secret := list "password" "client_secret" -}}
{{- if hasKey $settings $secret -}}
{{- fail (printf "nodes.%s has a %s, which is not rendered: put nodes.toml into a Secret and name it in nodesSecret." $node $secret) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.storage.kind "s3") (not $v.storage.bucket) -}}
{{- fail "storage.kind s3 needs storage.bucket." -}}
{{- end -}}
{{- if and (eq $v.auth.mode "oidc") (not (and $v.auth.oidc.issuer $v.auth.oidc.audience)) -}}
{{- fail "auth.mode oidc needs auth.oidc.issuer and auth.oidc.audience." -}}
{{- end -}}
{{- if and (eq $v.auth.mode "none") (or $v.web.ingress.enabled $v.web.httpRoute.enabled (ne $v.web.service.type "ClusterIP")) -}}
{{- fail "auth.mode none is refused where the web server can be reached from outside of the cluster: choose keys or oidc." -}}
{{- end -}}
{{- if and $v.web.ingress.enabled (not $v.web.ingress.host) -}}
{{- fail "web.ingress.enabled needs web.ingress.host." -}}
{{- end -}}
{{- if and $v.web.httpRoute.enabled (not (and $v.web.httpRoute.parentRefs $v.web.httpRoute.hostnames)) -}}
{{- fail "web.httpRoute.enabled needs web.httpRoute.parentRefs and web.httpRoute.hostnames." -}}
{{- end -}}
{{- if and $v.web.tls.enabled (not $v.web.tls.existingSecret) -}}
{{- fail "web.tls.enabled needs web.tls.existingSecret." -}}
{{- end -}}
{{- if and $v.web.httpRoute.enabled $v.web.ingress.enabled -}}
{{- fail "web.ingress and web.httpRoute are both enabled: what clients call us is one of them." -}}
{{- end -}}
{{- if $v.bridge.enabled -}}
{{- if eq $v.web.enabled (ne $v.bridge.dicomweb "") -}}
{{- fail "The bridge serves one DICOMweb server: ours (web.enabled), or the one that bridge.dicomweb names." -}}
{{- end -}}
{{- if and $v.web.enabled (not $v.bridgeToken.existingSecret) -}}
{{- fail "The bridge needs bridgeToken.existingSecret, a Secret that holds what web and bridge know each other by." -}}
{{- end -}}
{{- if and (not (has $v.bridge.unknownAets (list "refuse" "echo"))) (not $v.bridge.insecureAcceptAny) -}}
{{- fail "bridge.unknownAets lets AE titles in that nobody listed: list them as nodes, or set bridge.insecureAcceptAny." -}}
{{- end -}}
{{- if and $v.bridge.tls.enabled (not $v.bridge.tls.existingSecret) -}}
{{- fail "bridge.tls.enabled needs bridge.tls.existingSecret." -}}
{{- end -}}
{{- if and $v.bridge.tlsRoute.enabled (not $v.bridge.tls.enabled) -}}
{{- fail "bridge.tlsRoute.enabled needs bridge.tls.enabled: the gateway passes TLS through." -}}
{{- end -}}
{{- range $kind := list "tcpRoute" "tlsRoute" -}}
{{- $route := get $v.bridge $kind -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- fail (printf "bridge.%s.enabled needs bridge.%s.parentRefs." $kind $kind) -}}
{{- end -}}
{{- end -}}
{{- range $service := prepend $v.bridge.moreServices $v.bridge.service -}}
{{- $type := default "ClusterIP" $service.type -}}
{{- if and $service.nodePort (eq $type "ClusterIP") -}}
{{- fail "A nodePort needs a Service of type NodePort or LoadBalancer." -}}
{{- end -}}
{{- if and $service.loadBalancerClass (ne $type "LoadBalancer") -}}
{{- fail "A loadBalancerClass needs a Service of type LoadBalancer." -}}
{{- end -}}
{{- if and $service.loadBalancerSourceRanges (ne $type "LoadBalancer") -}}
{{- fail "loadBalancerSourceRanges need a Service of type LoadBalancer: nothing else enforces them." -}}
{{- end -}}
{{- end -}}
{{- if and $v.bridge.tls.enabled (eq (int $v.bridge.tls.port) (int $v.bridge.service.port)) -}}
{{- fail "bridge.tls.port and bridge.service.port are the same." -}}
{{- end -}}
{{- end -}}
{{- $spool := ternary (int $v.bridge.spool.drainSeconds) 0 (and $v.bridge.enabled $v.bridge.spool.enabled) -}}
{{- if le (int $v.drain.terminationGracePeriodSeconds) (add (int $v.drain.preStopSeconds) (int $v.drain.gracefulSeconds) $spool) -}}
{{- fail "drain.terminationGracePeriodSeconds must be longer than preStopSeconds, gracefulSeconds and the spool's drainSeconds together." -}}
{{- end -}}
{{- end -}}

{{/* What web and bridge have in common in a pod. */}}
{{- define "roentgate.pod" -}}
{{- $root := .root -}}
{{- $part := .part -}}
serviceAccountName: {{ include "roentgate.serviceAccount" $root }}
terminationGracePeriodSeconds: {{ $root.Values.drain.terminationGracePeriodSeconds }}
{{ include "roentgate.anyPod" . }}
affinity:
{{- if $part.affinity }}
{{- toYaml $part.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "roentgate.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- if $root.Values.topologySpread }}
topologySpreadConstraints:
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "roentgate.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
{{- end }}
{{- end }}
{{- with $part.initContainers }}
initContainers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What each pod of the chart has, those that end as well: how it is restricted, where it runs, what it calls by name. */}}
{{- define "roentgate.anyPod" -}}
{{- $v := .root.Values -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml $v.podSecurityContext | nindent 2 }}
{{- with $v.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $v.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $v.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "roentgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Secrets, by reference alone, as files: each has a folder below /secrets. Root is the context, which one of web, bridge. */}}
{{- define "roentgate.secretEnv" -}}
{{- $v := .root.Values -}}
{{- if and (eq .which "web") (eq $v.index.kind "postgresql") }}
- { name: ROENTGATE_INDEX_FILE, value: /secrets/index/uri }
{{- end }}
{{- if $v.bridgeToken.existingSecret }}
- { name: ROENTGATE_BRIDGE_TOKEN_FILE, value: /secrets/bridge/token }
{{- end }}
{{- if and (eq .which "web") (eq $v.auth.mode "oidc") $v.auth.oidc.existingSecret }}
- { name: ROENTGATE_OIDC_CLIENT_SECRET_FILE, value: /secrets/oidc/client-secret }
{{- end }}
{{- end -}}

{{- define "roentgate.secrets" -}}
{{- $v := .root.Values -}}
{{- $web := eq .which "web" -}}
{{- $found := list -}}
{{- if and $web (eq $v.index.kind "postgresql") -}}
{{- $found = append $found (dict "name" "index" "secret" $v.index.existingSecret "key" $v.index.existingSecretKey "path" "uri") -}}
{{- end -}}
{{- if $v.bridgeToken.existingSecret -}}
{{- $found = append $found (dict "name" "bridge" "secret" $v.bridgeToken.existingSecret "key" $v.bridgeToken.existingSecretKey "path" "token") -}}
{{- end -}}
{{- if and $web (eq $v.auth.mode "oidc") $v.auth.oidc.existingSecret -}}
{{- $found = append $found (dict "name" "oidc" "secret" $v.auth.oidc.existingSecret "key" $v.auth.oidc.existingSecretKey "path" "client-secret") -}}
{{- end -}}
{{- if and $web (eq $v.storage.kind "s3") $v.storage.existingSecret -}}
{{- $found = append $found (dict "name" "s3" "secret" $v.storage.existingSecret "key" $v.storage.existingSecretKey "path" "credentials") -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "roentgate.secretMounts" -}}
{{- range include "roentgate.secrets" . | fromYamlArray }}
- { name: secret-{{ .name }}, mountPath: /secrets/{{ .name }}, readOnly: true }
{{- end }}
{{- end -}}

{{- define "roentgate.secretVolumes" -}}
{{- range include "roentgate.secrets" . | fromYamlArray }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      - { key: {{ .key }}, path: {{ .path }} }
{{- end }}
{{- end -}}
