//! The terminal view: the rates of the last seconds, and their course.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use origin_sdk::admin::{Admin, FleetReport};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Row, Sparkline, Table};

use super::rows::{NamespaceRow, ProcessRow, percent, time};
use crate::output::{Exit, Result, printable};

/// How often the reports are read.
const PERIOD: Duration = Duration::from_secs(1);
/// The time that a rate is taken over: the interval at which processes publish.
const WINDOW: Duration = Duration::from_secs(5);
/// The longest wait for a key before the view is drawn again.
const INPUT_WAIT: Duration = Duration::from_millis(200);
/// The points of a course: more than a wide terminal shows.
const MAX_POINTS: usize = 500;

/// Shows the view until q, Escape or Ctrl-C is pressed.
pub(super) async fn run(admin: &Admin) -> Result<Exit> {
    if !io::stdout().is_terminal() {
        return Err("--watch: expected a terminal, found a file or pipe; use --over SECONDS instead".into());
    }
    let mut view = View::new(admin.app());
    let mut terminal = ratatui::try_init()?;
    let result = watch(admin, &mut view, &mut terminal).await;
    ratatui::restore();
    result.map(|()| Exit::Done)
}

async fn watch(admin: &Admin, view: &mut View, terminal: &mut ratatui::DefaultTerminal) -> Result<()> {
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            next = Instant::now() + PERIOD;
            view.push(Instant::now(), admin.fleet_report().await);
        }
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(INPUT_WAIT)? && is_end(&event::read()?) {
            return Ok(());
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// The reports so far, as far as they are shown.
struct View {
    app: String,
    /// The reports of the window, each with the moment at which it was read.
    reports: VecDeque<(Instant, FleetReport)>,
    /// The course of each namespace: reads per second.
    courses: BTreeMap<String, VecDeque<u64>>,
    rows: Vec<NamespaceRow>,
    processes: Vec<ProcessRow>,
    /// The time that the rows are of.
    seconds: f64,
    /// Why the last read failed.
    error: Option<String>,
}

impl View {
    fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            reports: VecDeque::new(),
            courses: BTreeMap::new(),
            rows: Vec::new(),
            processes: Vec::new(),
            seconds: 0.0,
            error: None,
        }
    }

    /// Adds a report. A failed read leaves the last figures.
    fn push<E: std::fmt::Display>(&mut self, now: Instant, fleet: std::result::Result<FleetReport, E>) {
        let fleet = match fleet {
            Ok(fleet) => fleet,
            Err(error) => {
                self.error = Some(error.to_string());
                return;
            }
        };
        self.error = None;
        self.processes = ProcessRow::all(&fleet);
        self.reports.push_back((now, fleet.clone()));
        // One report from before the window stays, as the rates count from it.
        while self.reports.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.reports.pop_front();
        }
        let Some((began, first)) = self.reports.front().filter(|(at, _)| *at < now) else { return };
        self.seconds = (now - *began).as_secs_f64();
        self.rows = NamespaceRow::all(&fleet.since(first));
        for row in &self.rows {
            let course = self.courses.entry(row.namespace.clone()).or_default();
            course.push_back((row.reads as f64 / self.seconds).round() as u64);
            if course.len() > MAX_POINTS {
                course.pop_front();
            }
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let heights = [Constraint::Length(2), Constraint::Fill(2), Constraint::Fill(1)];
        let [head, namespaces, processes] = Layout::vertical(heights).areas(frame.area());
        frame.render_widget(self.head(), head);
        self.draw_namespaces(frame, namespaces);
        let rows = self.processes.iter().map(|row| {
            let style = if row.is_current && row.queued == 0 { Style::new() } else { Style::new().red() };
            Row::new(row.cells()).style(style)
        });
        let widths = [Constraint::Fill(1); ProcessRow::HEADS.len()];
        frame.render_widget(Table::new(rows, widths).header(Row::new(ProcessRow::HEADS).bold()), processes);
    }

    fn head(&self) -> Line<'_> {
        match &self.error {
            Some(error) => Line::from(format!("{}: {}", self.app, printable(error))).red(),
            None if self.processes.is_empty() => {
                Line::from(format!("{}: no process has published figures of late", self.app)).yellow()
            }
            None => Line::from(format!(
                "{}: {} processes, rates of the last {:.0} s; q to end",
                self.app,
                self.processes.len(),
                self.seconds
            ))
            .bold(),
        }
    }

    /// Draws a line for each namespace: its figures, and the course of its reads.
    fn draw_namespaces(&self, frame: &mut Frame<'_>, area: Rect) {
        const WIDTHS: [u16; 7] = [24, 10, 8, 8, 9, 9, 10];
        const HEADS: [&str; 7] =
            ["namespace", "reads/s", "hits", "memory", "loads/s", "errors/s", "load p99"];
        let line = |cells: [String; 7]| -> String {
            let padded = cells.iter().zip(WIDTHS).enumerate().map(|(column, (cell, width))| {
                let (cell, width): (String, usize) =
                    (cell.chars().take(width.into()).collect(), width.into());
                if column == 0 { format!("{cell:<width$}") } else { format!(" {cell:>width$}") }
            });
            padded.collect()
        };
        let per_second = |count: u64| format!("{:.1}", count as f64 / self.seconds);
        let mut lines = area.rows();
        let Some(head) = lines.next() else { return };
        frame.render_widget(Line::from(line(HEADS.map(str::to_owned))).bold(), head);
        for (row, area) in self.rows.iter().zip(lines) {
            let cells = [
                printable(&row.namespace),
                per_second(row.reads),
                percent(row.hit_rate),
                percent(row.memory_hit_rate),
                per_second(row.loads),
                per_second(row.load_errors),
                time(row.load_p99_ms),
            ];
            let text = line(cells);
            let [figures, course] = Layout::horizontal([
                Constraint::Length(text.chars().count() as u16 + 1),
                Constraint::Fill(1),
            ])
            .areas(area);
            let style = if row.load_errors > 0 { Style::new().red() } else { Style::new() };
            frame.render_widget(Line::from(text).style(style), figures);
            let points = self.courses.get(&row.namespace).into_iter().flatten().copied();
            let points: Vec<u64> = points.rev().take(course.width.into()).collect();
            frame.render_widget(
                Sparkline::default().data(points.into_iter().rev().collect::<Vec<_>>()),
                course,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use origin_sdk::admin::ProcessReport;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn fleet(reads: u64, queued: u64) -> FleetReport {
        let namespace = json!({ "memory_hits": reads * 9, "misses": reads, "loads": reads, "load_times": { "40": reads } });
        let process = json!({ "process": "web-1/7-a", "is_current": true, "queued": queued, "namespaces": { "Product": namespace } });
        let mut fleet = FleetReport::default();
        fleet.processes.push(serde_json::from_value::<ProcessReport>(process).unwrap());
        fleet
    }

    fn drawn(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 12)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(120);
        lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn rates_are_of_the_window_and_their_course_is_drawn() {
        let (start, mut view) = (Instant::now(), View::new("shop"));
        assert!(drawn(&view).contains("no process has published figures of late"));
        for second in 0..20 {
            // 10 reads a second, and 100 from the tenth on.
            let reads = if second < 10 { second } else { 10 + (second - 10) * 10 };
            view.push::<String>(start + Duration::from_secs(second), Ok(fleet(reads, 0)));
        }
        let text = drawn(&view);
        assert!(text.contains("shop: 1 processes, rates of the last 5 s"), "{text}");
        let row = text.lines().find(|line| line.starts_with("Product")).unwrap();
        let cells: Vec<_> = row.split_whitespace().take(6).collect();
        assert_eq!(cells, ["Product", "100.0", "90.0%", "90.0%", "10.0", "0.0"]);
        assert!(row.contains('▂') && row.contains('█'), "{row}");
        assert!(text.contains("web-1/7-a"), "{text}");
    }

    #[test]
    fn a_failed_read_shows_its_error_and_leaves_the_figures() {
        let (start, mut view) = (Instant::now(), View::new("shop"));
        view.push::<String>(start, Ok(fleet(0, 0)));
        view.push::<String>(start + PERIOD, Ok(fleet(1, 3)));
        view.push(start + 2 * PERIOD, Err("connection refused\u{1b}[2J"));
        let text = drawn(&view);
        assert!(text.contains(r"connection refused\u{1b}[2J") && text.contains("Product"), "{text}");
    }
}
