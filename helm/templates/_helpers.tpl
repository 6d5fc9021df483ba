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

{{- define "roentgate.embedded" -}}
{{- if or (eq .Values.index.kind "sqlite") (eq .Values.storage.kind "file") }}true{{ end -}}
{{- end -}}

{{/* What cannot work together is refused, in a sentence. */}}
{{- define "roentgate.check" -}}
{{- $v := .Values -}}
{{- if include "roentgate.embedded" . -}}
{{- if or (gt (int $v.web.replicas) 1) $v.web.autoscaling.enabled -}}
{{- fail "More than one web replica needs index.kind postgresql and storage.kind s3: SQLite and files serve one pod." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.index.kind "postgresql") (not $v.index.existingSecret) -}}
{{- fail "index.kind postgresql needs index.existingSecret, a Secret that holds the database's URL." -}}
{{- end -}}
{{- if and (eq $v.storage.kind "s3") (not $v.storage.bucket) -}}
{{- fail "storage.kind s3 needs storage.bucket." -}}
{{- end -}}
{{- if and (eq $v.auth.mode "oidc") (not (and $v.auth.oidc.issuer $v.auth.oidc.audience)) -}}
{{- fail "auth.mode oidc needs auth.oidc.issuer and auth.oidc.audience." -}}
{{- end -}}
{{- if and (eq $v.auth.mode "none") (or $v.web.ingress.enabled (ne $v.web.service.type "ClusterIP")) -}}
{{- fail "auth.mode none is refused where the web server can be reached from outside of the cluster: choose keys or oidc." -}}
{{- end -}}
{{- if and $v.web.ingress.enabled (not $v.web.ingress.host) -}}
{{- fail "web.ingress.enabled needs web.ingress.host." -}}
{{- end -}}
{{- if $v.bridge.enabled -}}
{{- if not $v.bridgeToken.existingSecret -}}
{{- fail "The bridge needs bridgeToken.existingSecret, a Secret that holds what web and bridge know each other by." -}}
{{- end -}}
{{- if and (not (has $v.bridge.unknownAets (list "refuse" "echo"))) (not $v.bridge.insecureAcceptAny) -}}
{{- fail "bridge.unknownAets lets AE titles in that nobody listed: list them as nodes, or set bridge.insecureAcceptAny." -}}
{{- end -}}
{{- if and $v.bridge.tls.enabled (not $v.bridge.tls.existingSecret) -}}
{{- fail "bridge.tls.enabled needs bridge.tls.existingSecret." -}}
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
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $root.Values.drain.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $root.Values.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
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
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "roentgate.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- with $part.initContainers }}
initContainers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "roentgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Secrets, by reference alone. */}}
{{- define "roentgate.secretEnv" -}}
{{- if .Values.bridgeToken.existingSecret }}
- name: ROENTGATE_BRIDGE_TOKEN
  valueFrom:
    secretKeyRef: { name: {{ .Values.bridgeToken.existingSecret }}, key: {{ .Values.bridgeToken.existingSecretKey }} }
{{- end }}
{{- end -}}
