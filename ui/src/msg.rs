//! All texts, in English and Chinese side by side. A text without a translation does not compile.

use std::sync::atomic::{AtomicU8, Ordering};

use leptos::prelude::window;

use crate::browser;

/// Language of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lang {
    En,
    Zh,
}

impl Lang {
    /// The BCP 47 tag.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.get(..2)? {
            "en" => Some(Self::En),
            "zh" => Some(Self::Zh),
            _ => None,
        }
    }
}

/// The language in force; the whole view is built anew when it changes, so plain calls suffice.
static LANG: AtomicU8 = AtomicU8::new(0);

/// Makes `lang` the language of all texts read from now on.
pub(crate) fn set(lang: Lang) {
    LANG.store(u8::from(lang == Lang::Zh), Ordering::Relaxed);
}

/// What the URL asks for, else what was chosen before, else what the browser prefers.
pub(crate) fn preferred(asked: Option<&str>) -> Lang {
    let stored = browser::stored("lang");
    let system = window().navigator().language();
    let wishes = [asked, stored.as_deref(), system.as_deref()];
    wishes.into_iter().flatten().find_map(Lang::parse).unwrap_or(Lang::En)
}

/// A text in the language in force.
pub(crate) fn t(msg: Msg) -> &'static str {
    if LANG.load(Ordering::Relaxed) == 1 { zh(msg) } else { en(msg) }
}

/// A text whose `{}` are replaced in turn.
pub(crate) fn fill(msg: Msg, values: &[&str]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    for (i, part) in t(msg).split("{}").enumerate() {
        if i > 0 {
            text.push_str(values.next().copied().unwrap_or_default());
        }
        text.push_str(part);
    }
    text
}

/// A count with its noun: `one` for exactly one, else `many` with the number in place of `{}`.
pub(crate) fn count(n: usize, one: Msg, many: Msg) -> String {
    if n == 1 { t(one).to_owned() } else { fill(many, &[&n.to_string()]) }
}

/// A long duration in its two largest units.
pub(crate) fn long(seconds: f64) -> String {
    let whole = viz::scale::index(seconds);
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    let say = |msg: Msg, n: usize| fill(msg, &[&n.to_string()]);
    match (days, hours, minutes) {
        (0, 0, 0) => say(Msg::Seconds, whole),
        (0, 0, minutes) => say(Msg::Minutes, minutes),
        (0, hours, minutes) => format!("{} {}", say(Msg::Hours, hours), say(Msg::Minutes, minutes)),
        (days, hours, _) => format!("{} {}", say(Msg::Days, days), say(Msg::Hours, hours)),
    }
}

macro_rules! texts {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        /// Every text of the dashboard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Msg { $($name,)* }

        const fn en(msg: Msg) -> &'static str {
            match msg { $(Msg::$name => $en,)* }
        }

        const fn zh(msg: Msg) -> &'static str {
            match msg { $(Msg::$name => $zh,)* }
        }
    };
}

texts! {
    Acknowledge: "Acknowledge", "确认";
    AcknowledgedBy: "acknowledged by {}", "由 {} 确认";
    Actions: "Actions", "动作";
    ActionsFrozen: "Actions and ways back stand still: {}", "动作与回退均已冻结：{}";
    ActionsOff: "Actions are paused: {}", "动作已暂停：{}";
    AddQuery: "Add query", "添加查询";
    Ago: "{} ago", "{}前";
    Alerts: "Alerts", "告警";
    AllOperations: "All operations", "全部操作";
    AllServices: "All services", "全部服务";
    Apply: "Apply", "应用";
    ApprovalsOf: "{} of {} approvals", "{} / {} 个批准";
    Approve: "Approve", "批准";
    AppsGrpc: "Applications, OTLP over gRPC", "应用程序，OTLP / gRPC";
    AppsHttp: "Applications, OTLP over HTTP", "应用程序，OTLP / HTTP";
    AskName: "Your name", "您的姓名";
    AskWhy: "Why", "原因";
    ApprovedBy: "approved by {}", "由 {} 批准";
    Attempts: "Attempts", "尝试次数";
    Attributes: "Attributes", "属性";
    Auto: "Auto", "自动";
    Back: "Take back", "回退";
    BackHow: "Everything this action has changed is set to what it was before.", "此动作所做的全部更改将恢复为之前的值。";
    BadOf: "{} bad of {} events", "{} 个失败事件，共 {} 个";
    Before: "Before", "之前";
    Breadcrumbs: "Breadcrumbs", "路径导航";
    Broken: "broken", "执行失败";
    BudgetLeft: "Error budget left", "剩余错误预算";
    BurnRate: "Burn rate", "消耗速率";
    CallNeeded: "A person is needed: {}", "需要人工处理：{}";
    CancelQuery: "Cancel", "取消";
    Cardinality: "Cardinality", "基数";
    ChartStyle: "Chart style", "图表样式";
    ChartView: "Chart", "图表";
    Client: "Client", "客户端";
    Close: "Close", "关闭";
    Confirm: "Confirm", "确定";
    Copied: "Copied", "已复制";
    Copy: "Copy", "复制";
    Cpu: "CPU", "CPU";
    CpuByMode: "CPU by mode", "CPU（按模式）";
    Cpus: "{} CPUs", "{} 核";
    Deliveries: "Deliveries", "通知投递";
    Days: "{} d", "{} 天";
    DeliveryDone: "delivered", "已送达";
    DeliveryFailed: "failed", "失败";
    DeliveryPending: "retrying", "重试中";
    Disk: "Disk", "磁盘";
    DiskBusy: "Disk busy", "磁盘繁忙度";
    DiskIo: "Disk I/O", "磁盘读写";
    DiskThroughput: "Disk throughput", "磁盘吞吐";
    DownloadCsv: "Download CSV", "下载 CSV";
    Duration: "Duration", "耗时";
    Earlier: "Earlier", "更早";
    ErrorCount: "{} errors", "{} 个错误";
    ErrorOne: "1 error", "1 个错误";
    EvaluatedEvery: "evaluated every {}", "每 {} 评估一次";
    Events: "Events", "事件";
    ExampleLogs: "Latest errors", "最新错误日志";
    ExampleSeries: "Series per metric", "各指标序列数";
    ExampleSpans: "Busiest operations", "最繁忙的操作";
    ExampleTables: "All columns", "全部列";
    Examples: "Examples", "示例";
    Exemplars: "Exemplars", "示例样本";
    Explain: "Cost", "开销";
    ExplainNode: "Part of the query", "查询的组成部分";
    ExplainOwn: "In itself", "自身耗时";
    ExplainSteps: "Steps", "步数";
    ExplainTime: "Time", "总耗时";
    Field: "Field", "字段";
    FileSystemUse: "File system use", "文件系统使用率";
    FileSystems: "File systems", "文件系统";
    FilterBy: "Filter by this", "按此过滤";
    FilterByName: "Filter by name", "按名称过滤";
    FindingInconclusive: "cannot be known", "无法判定";
    FindingIneffective: "did not help", "无效";
    FindingVerified: "it helped", "有效";
    FindSpans: "Find spans", "查找 Span";
    FiringAlerts: "Firing alerts", "正在触发的告警";
    Fold: "Fold", "折叠";
    FoldAll: "Fold all", "全部折叠";
    ForAtLeast: "for {}", "持续 {}";
    Forget: "Clear", "清除";
    From: "From", "开始";
    Guard: "Guard", "护栏";
    GuardsSaid: "What the guards said", "护栏判定";
    Held: "Held now", "当前保持的更改";
    HeldUntil: "Until", "截止";
    History: "History", "历史记录";
    Host: "Host", "主机";
    Hosts: "Hosts", "主机";
    Hours: "{} h", "{} 小时";
    IncidentOpen: "open", "进行中";
    Incidents: "Incidents", "事件";
    IncidentUnknown: "over, cause unknown", "已结束，原因不明";
    InTotal: "{} in total", "共 {}";
    JustNow: "just now", "刚刚";
    KeyChart: "on a chart: move the cursor, show the table", "图表上：移动光标、显示表格";
    KeyFocusQuery: "Go to the query", "定位到查询框";
    Keys: "Keys", "快捷键";
    Kind: "Kind", "类型";
    Last: "Last", "最新";
    Lasted: "Lasted", "持续时间";
    LastError: "Last error", "最近错误";
    LastRange: "Last {}", "最近 {}";
    Later: "Later", "更晚";
    Lines: "Lines", "折线";
    Links: "Links", "关联";
    Load: "load", "负载";
    LoadAverage: "Load average", "平均负载";
    Loading: "Loading", "加载中";
    LogRecord: "Log record", "日志记录";
    LogRecords: "Log records", "日志记录";
    LogVolume: "Volume", "数量";
    Logs: "Logs", "日志";
    LogsOfTrace: "Logs of this trace", "该链路的日志";
    MarkAction: "action", "动作";
    MarkBack: "back", "回退";
    MarkFiring: "fires", "触发";
    MarkResolved: "resolved", "恢复";
    MatchCount: "{} matches", "{} 处匹配";
    MatchOne: "1 match", "1 处匹配";
    Max: "Max", "最大";
    MaxMs: "max ms", "最长 ms";
    Mean: "Mean", "平均";
    Memory: "Memory", "内存";
    MemoryByState: "Memory by state", "内存（按状态）";
    Menu: "Menu", "菜单";
    MetricCount: "{} metrics", "{} 个指标";
    MetricNames: "What there is to query", "可查询的指标";
    Metrics: "Metrics", "指标";
    Min: "Min", "最小";
    MinMs: "min ms", "最短 ms";
    Minutes: "{} min", "{} 分钟";
    MomentBack: "way back dispatched", "已下发回退";
    MomentCaptured: "read before", "已读取原值";
    MomentDispatched: "dispatched", "已下发";
    MomentLeased: "next step", "下一步";
    MomentObserved: "read back", "已读回确认";
    MomentReasserting: "set again", "重新设置";
    MoreTables: "{} more, most of them a metric each", "其他 {} 个，多为每个指标一张表";
    Mount: "Mounted at", "挂载点";
    Navigation: "Navigation", "导航";
    NetworkFaults: "Network errors, drops, retransmits", "网络错误、丢包、重传";
    NetworkThroughput: "Network throughput", "网络吞吐";
    NeverAsked: "never asked for", "从未查询";
    NewestValues: "Newest values", "最新值";
    NoActions: "Nothing was planned for it yet", "尚未为其制定任何动作";
    NoDataInRange: "No data in this range", "该时间范围内没有数据";
    NoExemplars: "No exemplars in this range", "该时间范围内没有示例样本";
    NoExemplarsHow: "Exemplars come with histograms and counters whose sender links measurements to traces.", "当发送方把测量值与链路关联时，直方图和计数器会附带示例样本。";
    NoHistory: "Nothing asked yet", "还没有查询记录";
    NoHistoryHow: "Queries you run are listed here, in this browser only.", "运行过的查询会列在这里，仅保存在此浏览器中。";
    NoHosts: "No hosts yet", "还没有主机";
    NoHostsHow: "A host appears here a few seconds after its agent starts. The overview shows the command.", "启动代理几秒后，主机会出现在这里。启动命令见“概览”。";
    NoIncidents: "No incidents", "没有事件";
    NoIncidentsHow: "An incident is opened when an alert fires that some runbook wants. Runbooks say what may be done, to what, and how it is known to have helped:", "当某个运行手册关注的告警触发时，会自动建立事件。运行手册规定可以做什么、对谁做，以及如何判断有效：";
    NoLogs: "No logs in this range", "该时间范围内没有日志";
    NoLogsHow: "Try a longer range, or send logs over OTLP: the overview shows the settings to copy.", "请扩大时间范围，或通过 OTLP 发送日志：可复制的配置见“概览”。";
    NoLogsMatch: "No log record matches", "没有匹配的日志";
    NoMetrics: "No metrics yet", "还没有指标";
    NoQueries: "No query is running", "当前没有正在运行的查询";
    NoQueriesHow: "Queries that take a while are listed here while they run, whoever asks, with a button that ends them.", "耗时较长的查询在运行期间会列在这里，无论由谁发起，并可在此取消。";
    NoRows: "The query gives no rows", "查询没有返回任何行";
    NoRules: "No alert rules are loaded", "尚未加载告警规则";
    NoRulesHow: "Write Prometheus rule files and name them in the configuration under [alert] rules. This one watches the CPU of every host:", "编写 Prometheus 规则文件，并在配置的 [alert] rules 中列出。下面的规则监视每台主机的 CPU：";
    NoSlos: "No objectives yet", "还没有服务等级目标";
    NoSlosHow: "Write what share of the events of a service shall be good, and name the file in the configuration under [alert] slos. Rules, alerts and this page follow from it:", "写下服务的事件中应有多大比例是成功的，并在配置的 [alert] slos 中列出该文件。规则、告警和本页面都由此生成：";
    NoSuchPage: "There is no such page", "页面不存在";
    NothingCounted: "The period is counted each minute; nothing yet", "周期统计每分钟更新，暂无数据";
    NoTraces: "No traces in this range", "该时间范围内没有链路";
    NoTracesHow: "Try a longer range or fewer filters, or send spans over OTLP: the overview shows the settings to copy.", "请扩大时间范围或减少过滤条件，或通过 OTLP 发送 Span：可复制的配置见“概览”。";
    NoTracesMatch: "No trace matches these filters", "没有符合条件的链路";
    Observed: "Observed", "观测值";
    ObserveOnly: "Nothing is done: {}", "不会执行任何动作：{}";
    Off: "Off", "关闭";
    OnlyErrors: "Only errors", "仅错误";
    Opened: "Opened", "开始";
    OpenInMetrics: "Open in Metrics", "在指标中打开";
    OpenTrace: "Open trace", "打开链路";
    Operation: "Operation", "操作";
    Orphan: "no parent", "缺少父级";
    OrphanHow: "Its parent span was not received", "未收到其父 Span";
    OtherHosts: "Other hosts, with the agent", "其他主机，使用代理";
    Overview: "Overview", "概览";
    Page: "page", "页面";
    PalettePlaceholder: "Page, host, trace id or text", "页面、主机、链路 ID 或文本";
    Panicked: "The dashboard has failed. The address keeps the view: reloading restores it.", "界面发生错误。地址中保存了当前视图，重新加载即可恢复。";
    PauseActions: "Pause actions", "暂停动作";
    PauseHow: "Nothing new is done. What is held is still given back when its time comes.", "不再执行新的动作；已保持的更改到期后仍会回退。";
    Plan: "Plan", "计划";
    Pressure: "Pressure: share of time stalled", "压力：停顿时间占比";
    Process: "Process", "进程";
    ProcessCpu: "CPU of top processes", "主要进程的 CPU";
    Processes: "Processes by state", "进程（按状态）";
    PromqlPlaceholder: "PromQL, as rate(http_requests_total[5m])", "PromQL，例如 rate(http_requests_total[5m])";
    PromqlQuery: "PromQL query", "PromQL 查询";
    QueryLanguage: "Language", "语言";
    QueryStats: "{} series · step {} · {}", "{} 个序列 · 步长 {} · {}";
    QueryText: "Query", "查询";
    Receiver: "Receiver", "接收方";
    Recording: "recording", "记录规则";
    Records: "{} records", "{} 条";
    RefreshInterval: "Refresh interval", "刷新间隔";
    RefreshNow: "Refresh now", "立即刷新";
    Refuse: "Refuse", "拒绝";
    RefusedBy: "refused by {}", "被 {} 拒绝";
    Rejected: "Rejected", "已拒绝";
    Reload: "Reload", "重新加载";
    RemoveQuery: "Remove query", "删除查询";
    Resource: "Resource", "资源";
    Result: "Result", "结果";
    ResultView: "Show as", "显示方式";
    ResumeActions: "Resume actions", "恢复动作";
    RetryNow: "Retry now", "立即重试";
    RowsIn: "{} rows in {}", "{} 行，用时 {}";
    Rule: "Rule", "规则";
    Run: "Run", "运行";
    RunAdmitted: "admitted", "已准入";
    RunAwaiting: "waits for approval", "等待批准";
    RunClosed: "over", "已结束";
    RunHolding: "holding", "保持中";
    RunningQueries: "Running queries", "运行中的查询";
    RunRefused: "refused", "已拒绝";
    RunReverting: "on its way back", "回退中";
    RunShadowed: "only recorded", "仅记录";
    RunUnderWay: "under way", "执行中";
    RunUnknown: "unknown", "未知";
    RunVerifying: "being verified", "验证中";
    Samples: "Samples", "样本";
    Search: "Search", "搜索";
    SearchAnything: "Search", "搜索";
    SearchLogs: "Search logs", "搜索日志";
    SearchLogsHow: "words \"a phrase\" service:checkout level:error", "关键词 \"短语\" service:checkout level:error";
    Seconds: "{} s", "{} 秒";
    Segments: "{} segments", "{} 个段";
    SendTelemetry: "Send telemetry", "发送遥测数据";
    SendTelemetryHow: "Any OpenTelemetry SDK works. Set these variables and start your program; data appears within a second.", "支持任何 OpenTelemetry SDK。设置以下变量并启动程序，数据会在一秒内出现。";
    Series: "Series", "序列";
    SeriesByMetric: "Series by metric", "各指标的序列数";
    SeriesByPair: "Series by label and value", "各标签值的序列数";
    SeriesInMemory: "{} series in memory", "内存中有 {} 个序列";
    ServerLost: "The server cannot be reached. What you see is {} old.", "无法连接服务器，当前数据已过时 {}。";
    SeverityError: "error", "错误";
    SeverityOther: "other", "其他";
    SeverityWarn: "warning", "警告";
    ShareLink: "Link to this view", "此视图的链接";
    ShowTable: "Show as table", "以表格显示";
    Silence2h: "Silence 2 h", "静默 2 小时";
    SilencedUntil: "Silenced until {}", "已静默至 {}";
    Since: "since {}", "始于 {}";
    Size: "Size", "容量";
    SkipToContent: "Skip to content", "跳到内容";
    SloGoal: "{} % of {}", "{} % / {}";
    Slos: "Objectives", "服务目标";
    SpanCount: "{} spans", "{} 个 Span";
    SpanOne: "1 span", "1 个 Span";
    SpanDetails: "Span", "Span 详情";
    SpanId: "Span id", "Span ID";
    Spans: "Spans", "Span";
    Sql: "SQL", "SQL";
    SqlEmpty: "Everything stored is a table", "所有数据都是表";
    SqlEmptyHow: "Write a query or take an example. Names of tables and columns are at the side.", "编写查询或选择示例。表名与列名见侧栏。";
    SqlPlaceholder: "SELECT … FROM logs LIMIT 100", "SELECT … FROM logs LIMIT 100";
    SqlQuery: "SQL query", "SQL 查询";
    Stacked: "Stacked", "堆叠";
    Start: "Start", "开始时间";
    StartsAfter: "Starts after", "起始偏移";
    State: "State", "状态";
    StateError: "error", "错误";
    StateFiring: "firing", "触发中";
    StateInactive: "inactive", "正常";
    StateNoData: "no data", "无数据";
    StateOk: "ok", "正常";
    StatePending: "pending", "待定";
    StateResolved: "resolved", "已恢复";
    StateUnknown: "silent", "失联";
    StateWarn: "warning", "警告";
    Status: "Status", "状态";
    StatusUnset: "unset", "未设置";
    Steps: "Steps", "步骤";
    Storage: "Storage", "存储";
    SwitchLanguage: "Switch language", "切换语言";
    SwitchTheme: "Light or dark", "切换明暗主题";
    TableView: "Table", "表格";
    Tables: "Tables", "表";
    Target: "Target", "目标";
    TcpConnections: "TCP connections by state", "TCP 连接（按状态）";
    Threads: "Threads", "线程";
    Threshold: "Wanted", "要求";
    Time: "Time", "时间";
    TimeGrammar: "now-2h, now-1d/d, 2026-11-23 04:46, or an epoch number.", "now-2h、now-1d/d、2026-11-23 04:46 或时间戳。";
    Timeline: "Timeline", "时间线";
    TimeRange: "Time range", "时间范围";
    To: "To", "结束";
    TopProcesses: "Top processes", "主要进程";
    Trace: "Trace", "链路";
    TraceCount: "{} traces", "{} 条链路";
    TraceOne: "1 trace", "1 条链路";
    Traces: "Traces", "链路";
    Truncated: "more rows were left out", "还有更多行未显示";
    Unfold: "Unfold", "展开";
    UnfoldAll: "Unfold all", "全部展开";
    UpFor: "up {}", "已运行 {}";
    Uptime: "Server up", "服务已运行";
    Use: "Use", "使用率";
    Used: "Used", "已用";
    Value: "Value", "值";
    ValuesByLabel: "Values by label", "各标签的取值数";
    Verdict: "Verdict", "判定";
    VerdictAllow: "allowed", "允许";
    VerdictDefer: "deferred", "推迟";
    VerdictRefuse: "refused", "拒绝";
    VerifiedBy: "Verified by", "验证依据";
    Watched: "What the rule watches", "规则所监视的数据";
    ZoomOut: "Zoom out", "缩小";
}
